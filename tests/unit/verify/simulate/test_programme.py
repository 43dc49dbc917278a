"""What is told of seeds that fail."""

from __future__ import annotations

import json

import pytest

from holdfast.cli.commands import execute
from holdfast.verify.simulate import programme
from holdfast.verify.simulate.plan import Plan
from holdfast.verify.simulate.run import Outcome


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every world with a crash loses a message."""

    def outcome_of(plan: Plan) -> Outcome:
        crashed = any(fault.kind == "crash" for fault in plan.faults)
        return Outcome(["lost: message 7"] if crashed else [], "d1", 3, 4.0, ["a line"])

    monkeypatch.setattr(programme, "outcome_of", outcome_of)


def test_a_failing_seed_is_shown_small_with_the_command_that_replays_it(failing: None) -> None:
    report = programme.run_seeds(range(30), processes=1)
    assert not report.ok
    first = report.failures[0]
    assert first.plan is not None
    assert [fault.kind for fault in first.plan.faults] == ["crash"]
    assert first.plan.steps == []
    assert f"holdfast verify simulate --seed {first.seed}" in report.text()
    assert "lost: message 7" in report.text()
    assert "a line" in report.text()


def test_only_the_first_few_are_made_smaller(failing: None) -> None:
    report = programme.run_seeds(range(60), processes=1)
    assert len(report.failures) > programme.SHRINK_MAX
    assert [failure.plan is not None for failure in report.failures].count(True) == programme.SHRINK_MAX
    assert all(failure.command in report.text() for failure in report.failures)


def test_seeds_that_fail_are_an_exit_code(failing: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["verify", "simulate", "--seeds", "30", "--processes", "1", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert told["failures"][0]["replay"] == f"holdfast verify simulate --seed {told['failures'][0]['seed']}"


def test_seeds_that_keep_their_promises_are_one_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["verify", "simulate", "--seeds", "2", "--processes", "1"]) == 0
    assert "every promise was kept" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--processes", "0"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    assert execute(["verify", "simulate", *arguments]) == 2


def test_an_error_of_the_simulation_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(plan: Plan) -> Outcome:
        raise ValueError("a world that falls apart")

    monkeypatch.setattr(programme, "simulate", simulate)
    assert "a world that falls apart" in programme.run_one(1).violations[0]
