"""Two runners on PostgreSQL in trouble: a blocked event loop, for a moment and for good; more jobs than slots."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from holdfast import JobHandle, JobState
from holdfast.errors import MessageError
from holdfast.jobs.door import CancelOutcome
from tests.integration.troubled import CLUSTER, SLOTS, Host, app, nap
from tests.support.postgres import emptied_schema

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
RUNNERS = 2
MOMENT_S = 1.5 * CLUSTER.lease_ttl
"""Nobody is late by accident for so long. And less than the limit for a loop that stands still."""


class Process:
    """A runner."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "tests.integration.troubled", url]
        self.popen = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def read_page(self) -> None:
        assert self.popen.stdout is not None
        self.page = self.popen.stdout.readline().strip()

    def ready(self) -> bool:
        """By its own word, which comes from another thread."""
        try:
            with urllib.request.urlopen(f"{self.page}/readyz", timeout=PATIENCE_S):
                return True
        except urllib.error.HTTPError as error:
            assert error.code == 503
            return False

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdout is not None
        self.popen.stdout.close()


@pytest.fixture
async def processes(postgres_servers: Callable[[str], str]) -> AsyncIterator[list[Process]]:
    async with emptied_schema(postgres_servers("postgres")) as url:
        with ExitStack() as stack:
            found = [Process(url) for _ in range(RUNNERS)]
            for process in found:
                stack.callback(process.kill)
            for process in found:
                await asyncio.to_thread(process.read_page)
            async with app.client(store=url):
                await until(settled)
                yield found


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await seen():  # noqa: ASYNC110 - there is no event to wait for in another process
            await asyncio.sleep(0.05)


async def owners() -> Mapping[int, int]:
    return {shard.number: shard.runner_id for shard in await app.cluster.shards()}


async def settled() -> bool:
    """Whether the plan has been carried out: all own as many, and nothing is left to even out."""
    owned = Counter((await owners()).values())
    return 0 not in owned and len(owned) == RUNNERS and max(owned.values()) - min(owned.values()) <= 1


async def host_of(process: Process) -> Host:
    for number in range(1000):
        host = app.ref(Host, f"h{number}")
        if await host.pid.opts(timeout=PATIENCE_S)() == process.popen.pid:
            return host
    raise AssertionError("no entity lives there")


async def readiness(process: Process) -> bool:
    return await asyncio.to_thread(process.ready)


async def test_a_loop_that_is_blocked_for_a_moment_loses_nothing_and_says_so(processes: list[Process]) -> None:
    """Longer than a lease: unready meanwhile, ready again, and not one shard has moved."""
    process = processes[0]
    host, before = await host_of(process), await owners()
    await until(lambda: readiness(process))
    began = monotonic()
    blocking = asyncio.ensure_future(host.block.opts(timeout=PATIENCE_S)(MOMENT_S))

    async def unready() -> bool:
        return not await readiness(process)

    await until(unready)
    assert not blocking.done(), "it said so while it was blocked"
    while not blocking.done():
        assert await owners() == before
        await asyncio.sleep(0.2)
    await blocking
    assert monotonic() - began >= MOMENT_S, "it was blocked for longer than a lease"
    await until(lambda: readiness(process))
    assert await owners() == before
    assert await host.pid() == process.popen.pid


async def test_a_loop_that_is_blocked_for_good_loses_its_shards(processes: list[Process]) -> None:
    """Once it has stood still for the limit its lease runs out, and the other runner takes all of them."""
    process, other = processes
    host = await host_of(process)
    began = monotonic()
    blocking = asyncio.ensure_future(host.block.opts(timeout=PATIENCE_S)(PATIENCE_S))

    async def taken() -> bool:
        return len(set((await owners()).values())) == 1

    await until(taken)
    took_s = monotonic() - began
    assert CLUSTER.loop_stall_limit < took_s, "not before the limit"
    blocking.cancel()
    await asyncio.gather(blocking, return_exceptions=True)

    async def answers_elsewhere() -> bool:
        try:
            return await host.pid.opts(timeout=PATIENCE_S)() == other.popen.pid
        except MessageError:
            return False  # it had gone to the one that is blocked, whose connection is given up now

    await until(answers_elsewhere)


async def napping(alarm: Path) -> list[JobHandle[int]]:
    """As many jobs of one owner as both have slots, all of which run by now."""
    handles = [await nap.opts(group="all of one shard").submit(str(alarm)) for _ in range(RUNNERS * SLOTS)]

    async def running() -> bool:
        states = [(await app.jobs.status(handle.id)).state for handle in handles]
        return states == [JobState.RUNNING] * len(handles)

    await until(running)
    return handles


async def test_jobs_run_where_slots_are_free(processes: list[Process], tmp_path: Path) -> None:
    handles = await napping(tmp_path / "alarm")
    (tmp_path / "alarm").touch()
    ran_on = Counter([await handle.result(timeout=PATIENCE_S) for handle in handles])
    assert ran_on == {process.popen.pid: SLOTS for process in processes}


@pytest.mark.parametrize("dead", range(RUNNERS))
async def test_what_ran_on_a_killed_runner_runs_again(processes: list[Process], tmp_path: Path, dead: int) -> None:
    """Be it the owner of the jobs or the one that lent its slots."""
    handles = await napping(tmp_path / "alarm")
    processes[dead].kill()
    (tmp_path / "alarm").touch()
    ran_on = Counter([await handle.result(timeout=PATIENCE_S) for handle in handles])
    assert ran_on == {processes[1 - dead].popen.pid: RUNNERS * SLOTS}


async def test_a_cancel_stops_an_attempt_in_a_lent_slot(processes: list[Process], tmp_path: Path) -> None:
    handles = await napping(tmp_path / "alarm")
    for handle in handles:
        assert await app.jobs.cancel(handle.id) is CancelOutcome.INTERRUPTED
