"""The simulation programme: many worlds, each as bad as its seed says, none of which may break a promise.

`HOLDFAST_SEEDS=20000 pytest tests/simulation/test_programme.py` runs as many as asked for; a failing seed is shown made
smaller, with the command that replays it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys

import pytest

from holdfast.verify.simulate.broken import CONTROLS, seeds_that_concern
from holdfast.verify.simulate.plan import Plan, plan_of
from holdfast.verify.simulate.programme import outcome_of, run_seeds
from holdfast.verify.simulate.run import simulate

SEEDS = int(os.environ.get("HOLDFAST_SEEDS", "600"))
FAST_SEEDS = 20
CONTROL_SEEDS_MAX = 30
FOUND = (
    798, 818, 945, 1931, 1972, 2376, 2469, 3070, 3220, 4136, 4345, 6509, 7981, 8064, 10959, 11064, 11761, 15435, 16093,
    16290,
)  # fmt: skip
"""Seeds beyond the first ones that broke a promise once, before there were bursts."""
FOUND_BY_BURSTS = (98, 223, 411, 650, 3564, 3792, 4085)
"""And those that did since."""


def test_no_seed_breaks_a_promise_at_a_glance() -> None:
    """The first few, in this process."""
    report = run_seeds(range(FAST_SEEDS), processes=1)
    assert report.ok, report.text()


@pytest.mark.slow
def test_no_seed_breaks_a_promise() -> None:
    report = run_seeds(range(FAST_SEEDS, SEEDS))
    assert report.ok, report.text()
    met = {fault for run in report.runs for fault in run.faults}
    assert met == {
        "clock",
        "crash",
        "cut off",
        "deaf",
        "drain",
        "freeze",
        "partition",
        "snap",
        "start",
        "stop",
        "store away",
    }


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_mended(seed: int) -> None:
    """The world as it was then, event by event."""
    outcome = simulate(_without_bursts(plan_of(seed)))
    assert outcome.ok, outcome.violations


def _without_bursts(plan: Plan) -> Plan:
    return dataclasses.replace(
        plan,
        steps=[step for step in plan.steps if step.kind != "burst"],
        faults=[fault for fault in plan.faults if fault.kind != "snap"],
    )


@pytest.mark.parametrize("seed", FOUND_BY_BURSTS)
def test_what_bursts_have_found_stays_mended(seed: int) -> None:
    report = run_seeds([seed], processes=1)
    assert report.ok, report.text()


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.slow
def test_what_is_broken_is_noticed(name: str) -> None:
    """Else the simulation would prove nothing."""
    for seed in itertools.islice(seeds_that_concern(name), CONTROL_SEEDS_MAX):
        if not simulate(plan_of(seed), broken=CONTROLS[name].broken()).ok:
            return
    pytest.fail(f"{name}: not noticed in {CONTROL_SEEDS_MAX} worlds where it may matter")


def test_what_was_broken_is_whole_again() -> None:
    """A control leaves nothing behind that would hide or cause a failure elsewhere."""
    before = simulate(plan_of(3)).digest
    for control in CONTROLS.values():
        with control.broken():
            pass
    assert simulate(plan_of(3)).digest == before


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Event by event, whatever the process's own hashing is."""
    here = run_seeds(range(10, 16), processes=1).digest
    assert [_digest_in_a_process(hashing) for hashing in ("0", "1")] == [here, here]


def _digest_in_a_process(hashing: str) -> str:
    options = ["--first", "10", "--seeds", "6", "--processes", "1", "--json"]
    command = [sys.executable, "-m", "holdfast", "verify", "simulate", *options]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": hashing})
    assert ran.returncode == 0, ran.stderr
    return str(json.loads(ran.stdout)["digest"])


def test_other_seeds_are_other_runs() -> None:
    assert len({outcome_of(plan_of(seed)).digest for seed in range(5)}) == 5
