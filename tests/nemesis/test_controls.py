"""Positive controls: runners that are broken on purpose, under the faults that bring it to light, are found out."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.verify.nemesis import run
from holdfast.verify.rig import Plan

PROGRAM = str(Path(__file__).with_name("broken.py"))
TRIES = 3
"""A fault strikes at a random moment; that it misses every time is next to impossible."""

CONTROLS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "no-fence": (("freeze",), {"stale commit"}),
    "ack-before-commit": (("kill",), {"lost acknowledgement", "linearizability", "conservation"}),
    "state-apart": (("kill",), {"lost acknowledgement", "linearizability", "conservation"}),
    "mark-instead-of-delete": (("drain",), {"unfinished", "duplicate effect"}),
    "guess-outcomes": (
        ("cut store link", "slow store link"),
        {"duplicate effect", "linearizability", "conservation", "cancel"},
    ),
}
"""The faults that bring it to light, and what it may show as."""


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.several
@pytest.mark.parametrize("broken", CONTROLS)
async def test_a_broken_runner_is_found_out(broken: str, postgres_servers: Callable[[str], str]) -> None:
    """If a run with it were called right, the checks would be worth nothing."""
    faults, shows_as = CONTROLS[broken]
    for _ in range(TRIES):
        plan = Plan(
            seed=random.randrange(2**32),
            seconds=4.0,
            runners=2,
            lease_ttl_s=1.5,
            between_s=0.7,
            rest_s=2.0,
            kinds=faults,
            store=postgres_servers("postgres"),
            host=(sys.executable, PROGRAM, broken),
        )
        report = await run(plan)
        if {violation.kind for violation in report.violations} & shows_as:
            return
    pytest.fail(f"{broken} was not found out:\n{report.text()}")
