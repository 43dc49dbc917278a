"""Groups: one after another, in their order, and nobody overtakes a job that is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar
from unittest.mock import AsyncMock

import pytest

from holdfast.jobs.context import job_context

from .rig import Rig, eventually, simulated

T = TypeVar("T")


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


class SlowReader:
    """A store that takes its time to say who has a key: as many seconds as are said, one after the other."""

    def __init__(self, reader: Any, *seconds: float) -> None:
        self._reader = reader
        self._seconds = list(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def live_by_key(self, *name: Any) -> Any:
        await asyncio.sleep(self._seconds.pop(0) if self._seconds else 0)
        return await self._reader.live_by_key(*name)


async def one_after_another(calls: Iterable[Coroutine[Any, Any, T]]) -> list[asyncio.Task[T]]:
    """All begun, in this order, whatever becomes of each; the loop of a simulation begins tasks as it likes."""
    begun: list[asyncio.Task[T]] = []
    for call in calls:
        begun.append(asyncio.create_task(call))
        await asyncio.sleep(0.001)
    return begun


@simulated
async def test_what_is_submitted_without_awaiting_one_before_the_next_runs_in_order(rig: Rig) -> None:
    """Also where the key of an earlier one takes longer to be looked up, or its submitter gives up meanwhile."""
    begun: list[tuple[str, int]] = []

    @rig.job
    async def work(group: str, number: int) -> None:
        begun.append((group, number))

    await rig.open()
    admission = rig.engine._admission  # pyright: ignore[reportPrivateUsage]
    reader = admission._reader
    for given_up in (None, 0, 1, 2):
        group = f"without {given_up}"
        admission._reader = SlowReader(reader, 9, 1, 5)  # type: ignore[assignment]
        submits = await one_after_another(
            work.opts(group=group, key=key).submit(group, number) for number, key in enumerate(["a", None, "c", "d"])
        )
        await work.opts(group="other").submit("other", 0)
        assert not any(submit.done() for submit in submits), "other groups do not wait for this one"
        if given_up is not None:
            submits[given_up].cancel()
        await asyncio.gather(*submits, return_exceptions=True)
        expected = [(group, number) for number in range(4) if number != given_up]
        await eventually(lambda: [one for one in begun if one[0] == group] == expected)  # noqa: B023


@simulated
async def test_one_key_submitted_twice_in_a_group_at_a_time_is_one_job(rig: Rig) -> None:
    """Whichever of the two is looked up first."""
    begun: list[int] = []

    @rig.job
    async def work(number: int) -> None:
        begun.append(number)

    await rig.open()
    admission = rig.engine._admission  # pyright: ignore[reportPrivateUsage]
    admission._reader = SlowReader(admission._reader, 9, 1, 5)  # type: ignore[assignment]
    submits = await one_after_another(work.opts(group="g", key="k").submit(1) for _ in range(3))
    handles = await asyncio.gather(*submits)
    assert len({handle.id for handle in handles}) == 1
    assert sorted(handle.duplicate is True for handle in handles) == [False, True, True]
    await handles[0].result()
    assert begun == [1]


@simulated
async def test_jobs_of_one_group_from_another_process_are_stored_in_the_order_in_which_they_came(rig: Rig) -> None:
    begun: list[str] = []

    @rig.job
    async def work(name: str) -> None:
        begun.append(name)

    await rig.open()
    admission = rig.engine._admission  # pyright: ignore[reportPrivateUsage]
    admission._reader = SlowReader(admission._reader, 9, 1)  # type: ignore[assignment]
    calls = [work.opts(group="g", key=key).call(name) for name, key in (("1", "a"), ("2", None), ("3", "c"))]
    ids = [await rig.around.ids.take() for _ in calls]
    await asyncio.gather(
        *await one_after_another(
            admission.admit([(call, number)], retry=False) for call, number in zip(calls, ids, strict=True)
        )
    )
    await eventually(lambda: len(begun) == 3)
    assert begun == ["1", "2", "3"]
