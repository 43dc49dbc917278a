"""`holdfast verify`: from the command line to a report."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import ConfigurationError
from holdfast.storage.urls import is_postgres, masked
from holdfast.verify.faults import FAULTS
from holdfast.verify.nemesis import run
from holdfast.verify.report import Report
from holdfast.verify.rig import Plan

from .exits import Exit
from .loops import run_on

SEEDS = 2**32


def run_nemesis(
    *,
    minutes: float,
    seed: int | None,
    runners: int,
    clients: int,
    lease: float,
    pace: float,
    pause: float,
    overlapping: int,
    faults: Sequence[str],
    store: str | None,
    timeline: Path | None,
    keep: bool,
    as_json: bool,
) -> Exit:
    """FAILED where a promise was not kept. Raises ConfigurationError."""
    above_zero = {"minutes": minutes, "runners": runners, "clients": clients, "pace": pace, "overlapping": overlapping}
    _check({**above_zero, "pause": pause}, lease=lease, faults=faults, store=store)
    plan = Plan(
        seed=random.SystemRandom().randrange(SEEDS) if seed is None else seed,
        seconds=minutes * 60.0,
        runners=runners,
        clients=clients,
        lease_ttl_s=lease,
        between_s=pace,
        pause_s=pause,
        overlapping=overlapping,
        kinds=faults,
        store=store,
        keep=keep,
    )
    try:
        report = run_on("asyncio", _until_terminated(run(plan, timeline=timeline)))
    except asyncio.CancelledError:
        return Exit.FAILED  # by SIGTERM; everything is taken down
    print(json.dumps(report.document(), indent=2) if as_json else report.text())
    return Exit.OK if report.ok else Exit.FAILED


async def _until_terminated(running: Coroutine[Any, Any, Report]) -> Report:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await running


def _check(above_zero: Mapping[str, float], *, lease: float, faults: Sequence[str], store: str | None) -> None:
    for name, value in above_zero.items():
        if not value > 0:
            raise ConfigurationError(f"--{name} is above 0, not {value:g}")
    if lease < 1:
        raise ConfigurationError(f"--lease is at least 1 second, not {lease:g}")
    if unknown := set(faults) - {fault.name for fault in FAULTS}:
        known = ", ".join(fault.name for fault in FAULTS)
        raise ConfigurationError(f"there is no fault {', '.join(sorted(unknown))}; there are: {known}")
    if store is not None and not is_postgres(store):
        raise ConfigurationError(f"--store is a postgresql:// URL, not {masked(store)!r}")
