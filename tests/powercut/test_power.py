"""The power is cut under load: nothing acknowledged is lost at the default settings, on SQLite and on PostgreSQL.

`HOLDFAST_POWER_CUTS` says how often on SQLite (half as often on PostgreSQL), from another seed each time;
`HOLDFAST_SEED` repeats the moments. The slice has the same seed in every run. The
positive control runs with SQLite's syncs switched off and must lose something: else the cut would prove nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.powercut.program import KINDS
from tests.support.folders import open_to_servers
from tests.support.postgres_process import PostgresProcess
from tests.support.volume import Volume, why_not

SLICE_CUTS = 6
CUTS = int(os.environ.get("HOLDFAST_POWER_CUTS", SLICE_CUTS))
SEED = int(os.environ.get("HOLDFAST_SEED", "0" if CUTS == SLICE_CUTS else random.randrange(2**32)))
CONTROL_CUTS = 10
ACKNOWLEDGED_BEFORE_A_CUT = 60
MOMENT_S_MAX = 0.1
PATIENCE_S = 120.0
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=why_not() or "")]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    volume = Volume(tmp_path, megabytes=512)
    yield volume
    volume.remove()


def _nothing() -> None:
    """SQLite has no server."""


class Round:
    """The program between two cuts, and what it promised."""

    def __init__(self, store: str, number: int, *options: str) -> None:
        self._command = [sys.executable, "-m", "tests.powercut.program", store, str(number), *options]
        self.acknowledged: dict[str, list[str]] = defaultdict(list)
        self.jobs: list[str] = []
        self._on = True

    async def start(self, jobs_before: list[str]) -> dict[str, Any]:
        """Returns what is there of the round before, once this one sends."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, cwd=ROOT, stdin=pipe, stdout=pipe)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(jobs_before).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            first = await self._process.stdout.readline()
        assert first, "the program did not come up after the cut; its errors are above"
        there: dict[str, Any] = json.loads(first)["there"]
        return there

    async def promised(self, count: int) -> None:
        """Returns once so many operations were acknowledged; goes on hearing of more."""
        enough = asyncio.Event()
        self._hearing = asyncio.ensure_future(self._hear(count, enough))
        async with asyncio.timeout(PATIENCE_S):
            await enough.wait()

    def power_off(self) -> None:
        """What is said from now on, a dead machine says: a sync under way at the cut reports success to nobody."""
        self._on = False

    async def end(self) -> None:
        self._process.kill()
        await self._hearing
        await self._process.wait()

    async def _hear(self, count: int, enough: asyncio.Event) -> None:
        assert self._process.stdout is not None
        while (line := await self._process.stdout.readline()).endswith(b"\n"):
            if not self._on:
                continue
            said = json.loads(line)
            self.acknowledged[said["kind"]].append(said["operation"])
            if "job" in said:
                self.jobs.append(said["job"])
            count -= 1
            if not count:
                enough.set()


def lost(before: Round, there: dict[str, Any]) -> list[str]:
    """What was promised and is not there. Nothing may be there twice."""
    for place in (*(kind for kind in KINDS if kind != "job"), "mirror"):
        doubled = {operation: count for operation, count in Counter(there[place]).items() if count > 1}
        assert not doubled, f"seed {SEED}: repeated in {place}: {doubled}"
    assert set(there["mirror"]) == set(there["slow"]), f"seed {SEED}: the outbox and its handler's state disagree"
    entities = set().union(*(set(before.acknowledged[kind]) - set(there[kind]) for kind in KINDS if kind != "job"))
    return sorted(entities | (set(before.jobs) - set(there["jobs"])))


async def cut_and_check(
    volume: Volume, store: str, cuts: int, *, start: Callable[[], None] = _nothing, kill: Callable[[], None] = _nothing
) -> None:
    """Every round finds all that the one before had promised. `start` and `kill` are of the store's server."""
    rng, before = random.Random(SEED), Round(store, 0)
    start()
    for number in range(1, cuts + 1):
        this = Round(store, number)
        there = await this.start(before.jobs)
        assert not (gone := lost(before, there)), f"seed {SEED}: cut {number - 1} lost what was acknowledged: {gone}"
        await this.promised(ACKNOWLEDGED_BEFORE_A_CUT)
        await asyncio.sleep(rng.uniform(0, MOMENT_S_MAX))  # the fault's moment, not a wait for something
        this.power_off()
        volume.cut()
        await this.end()
        kill()
        volume.unmount()
        volume.mount()
        start()
        before = this
    last = Round(store, cuts + 1)
    gone = lost(before, await last.start(before.jobs))
    assert not gone, f"seed {SEED}: the last cut lost what was acknowledged: {gone}"
    await last.promised(1)
    await last.end()
    kill()


async def test_sqlite_loses_nothing_acknowledged(volume: Volume) -> None:
    await cut_and_check(volume, f"sqlite:///{volume.path}/power.db", CUTS)


@pytest.mark.postgres
async def test_postgresql_loses_nothing_acknowledged(volume: Volume, tmp_path: Path) -> None:
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    open_to_servers(volume.path)
    server = PostgresProcess(volume.path, sockets=sockets)
    await cut_and_check(volume, server.url, max(1, CUTS // 2), start=server.start, kill=server.kill)


async def test_without_syncs_sqlite_loses_so_the_cut_is_one(volume: Volume) -> None:
    """The positive control; a file that can't be read any more is a loss too."""
    for number in range(CONTROL_CUTS):
        store = f"sqlite:///{volume.path}/control-{number}.db"
        this, after = Round(store, 1, "unsafe"), Round(store, 2, "unsafe")
        await this.start([])
        await this.promised(ACKNOWLEDGED_BEFORE_A_CUT)
        this.power_off()
        volume.cut()
        await this.end()
        volume.unmount()
        volume.mount()
        try:
            found = await after.start(this.jobs)
        except AssertionError:
            return
        await after.promised(1)
        await after.end()
        if lost(this, found):
            return
    pytest.fail(f"{CONTROL_CUTS} cuts without syncs lost nothing: they cut no power")
