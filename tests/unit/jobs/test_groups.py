"""Groups: one after another, in their order, and nobody overtakes a job that is tried again."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest

from holdfast.jobs.context import job_context

from .rig import Rig, eventually, simulated


@simulated
async def test_jobs_of_one_group_run_one_at_a_time_in_the_order_submitted(rig: Rig) -> None:
    """Beside those of other groups and of none."""
    begun: list[str] = []
    running = most = 0

    @rig.job
    async def work(name: str) -> None:
        nonlocal running, most
        begun.append(name)
        if name.startswith("a"):
            running += 1
            most = max(most, running)
        await asyncio.sleep(1)
        running -= name.startswith("a")

    await rig.open()
    handles = [await work.opts(group="a").submit(f"a{n}") for n in range(4)]
    handles += [await work.opts(group="b").submit("b"), await work.submit("none")]
    await eventually(lambda: len(begun) == 3, within_s=0.5)
    assert sorted(begun) == ["a0", "b", "none"]
    for handle in handles:
        await handle.result()
    assert [name for name in begun if name.startswith("a")] == ["a0", "a1", "a2", "a3"]
    assert most == 1


@simulated
async def test_a_retry_holds_its_group(rig: Rig) -> None:
    """Those behind it wait until it has ended for good, also after a restart."""
    seen: list[tuple[str, int]] = []

    @rig.job(max_attempts=2)
    async def work(name: str) -> None:
        seen.append((name, job_context().attempt))
        if name == "first":
            raise OSError

    await rig.open(retry_first=50.0)
    await work.opts(group="g").submit("first")
    second = await work.opts(group="g").submit("second")
    await asyncio.sleep(10)
    assert seen == [("first", 1)]
    await rig.close()
    await rig.open(retry_first=50.0)
    await rig.engine.wait(second.id)
    assert seen == [("first", 1), ("first", 2), ("second", 1)]


@simulated
async def test_a_type_may_let_more_of_a_group_run(rig: Rig) -> None:
    running = most = 0

    @rig.job(group_limit=3)
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    await rig.open()
    for handle in [await work.opts(group="g").submit() for _ in range(10)]:
        await handle.result()
    assert most == 3


@simulated
async def test_the_next_one_comes_when_the_one_before_is_cancelled(rig: Rig) -> None:
    """Running, or still in line."""
    begun: list[str] = []

    @rig.job
    async def work(name: str) -> None:
        begun.append(name)
        if name == "long":
            await asyncio.sleep(1000)

    await rig.open()
    long, dropped, last = [await work.opts(group="g").submit(name) for name in ("long", "dropped", "last")]
    await eventually(lambda: begun == ["long"])
    await rig.engine.cancel(dropped.id)
    await rig.engine.cancel(long.id)
    await last.result()
    assert begun == ["long", "last"]
    assert rig.metrics.value("jobs_queue_depth") == 0


@pytest.mark.parametrize("window", [2, 1000])
def test_a_long_line_holds_up_nobody_else(window: int) -> None:
    """Not the other jobs of its shard either, and memory stays within bounds."""
    simulated(_long_line)(window)


async def _long_line(rig: Rig, window: int) -> None:
    order: list[int] = []

    @rig.job
    async def grouped(n: int) -> None:
        order.append(n)
        await asyncio.sleep(1)

    @rig.job
    async def free() -> None: ...

    await rig.open(window=window)
    handles = [await grouped.opts(group="g").submit(n) for n in range(30)]
    others = [await free.submit() for _ in range(40)]
    for other in others:
        await other.result(timeout=5.0)
    for handle in handles:
        await handle.result()
    assert order == list(range(30))


@simulated
async def test_a_job_goes_behind_those_of_its_group_that_wait_in_the_inbox(rig: Rig) -> None:
    """They were submitted while the shard was away, so this one goes the same way."""

    @rig.job
    async def work(n: int) -> None: ...

    elsewhere = AsyncMock()
    rig.elsewhere, rig.left_in = elsewhere, lambda shard: True
    await rig.open()
    await work.opts(group="g").submit(1)
    await work.submit(2)
    ((call,), _) = elsewhere.submit.call_args_list[0]
    assert call.rules.group == "g" and elsewhere.submit.call_count == 1
