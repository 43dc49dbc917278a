"""Positive controls: runners that are broken on purpose are found out, each time, and one that is not comes through.

Each meets the scenario that needs what is broken. If a run with it were called right, the checks were worth nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.verify.fleet import HOST
from holdfast.verify.nemesis import run
from holdfast.verify.report import Report
from holdfast.verify.rig import Plan, Rig, progress
from holdfast.verify.storm import Storm

from .scenarios import (
    SCENARIOS,
    Scenario,
    cut_off_in_a_flush,
    drained_with_a_job,
    frozen_in_a_flush,
    frozen_in_a_handler,
    killed_in_a_flush,
    money_to_another_runner,
    read_behind_a_flush,
    sent_again,
)
from .stage import LEASE_TTL_S, stage_on

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.several]

PROGRAM = str(Path(__file__).with_name("broken.py"))
CONTROLS: dict[str, tuple[Scenario, str]] = {
    "no-fence": (frozen_in_a_handler, "stale commit"),
    "fence-only-read": (frozen_in_a_flush, "stale commit"),
    "ack-before-commit": (killed_in_a_flush, "lost acknowledgement"),
    "state-apart": (killed_in_a_flush, "lost acknowledgement"),
    "next-before-known": (read_behind_a_flush, "linearizability"),
    "guess-outcomes": (cut_off_in_a_flush, "duplicate effect"),
    "mark-instead-of-delete": (money_to_another_runner, "unfinished"),
    "no-key": (sent_again, "duplicate effect"),
    "no-start-records": (drained_with_a_job, "doubled attempt"),
    "rescue-by-id": (drained_with_a_job, "doubled attempt"),
    "silent-in-drain": (drained_with_a_job, "doubled attempt"),
}
"""What brings each to light, and what it shows as."""
TRIES = 3
"""Where the machine stands still a runner is replaced before its scenario begins, or excused for what it did."""


@pytest.mark.parametrize("broken", CONTROLS)
async def test_a_broken_runner_is_found_out(broken: str, postgres_servers: Callable[[str], str]) -> None:
    scenario, shows_as = CONTROLS[broken]
    host, store = (sys.executable, PROGRAM, broken), postgres_servers("postgres")
    for _ in range(TRIES):
        with suppress(TimeoutError):
            report = await played([scenario], host=host, store=store, patience_s=20.0, rest_s=2.0)
            if shows_as in {violation.kind for violation in report.violations}:
                return
    pytest.fail(f"{broken} was not found out")


async def test_a_runner_that_is_as_it_should_be_comes_through(postgres_servers: Callable[[str], str]) -> None:
    """All scenarios, one after the other: none of them is wrong about a runner that is right."""
    report = await played(SCENARIOS, host=HOST, store=postgres_servers("postgres"), patience_s=0.3, rest_s=180.0)
    assert not report.violations, report.text()


async def played(
    scenarios: Sequence[Scenario], *, host: Sequence[str], store: str, patience_s: float, rest_s: float
) -> Report:
    plan = Plan(
        seed=1,
        seconds=0.0,
        runners=2,
        clients=0,
        probers=0,
        lease_ttl_s=LEASE_TTL_S,
        rest_s=rest_s,
        kinds=("kill", "freeze"),
        store=store,
        host=host,
    )
    return await run(plan, harm=_on_stage(scenarios, patience_s))


def _on_stage(scenarios: Sequence[Scenario], patience_s: float) -> Callable[[Rig], Awaitable[Storm]]:
    async def harm(rig: Rig) -> Storm:
        async with stage_on(rig, patience_s=patience_s) as stage:
            for scenario in scenarios:
                await stage.settled()
                progress(f"{scenario.__name__}")
                await scenario(stage)
        return Storm()

    return harm
