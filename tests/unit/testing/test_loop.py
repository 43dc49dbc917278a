"""Virtual time jumps, outside work holds it, seeds decide the order of tasks, and nothing hangs."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from holdfast.kit.clock import Clock
from holdfast.testing.loop import EPOCH_US, LeftOver, LoopClock, Stalled, VirtualLoop, run


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_hour_passes_at_once() -> None:
    """Sleeping costs virtual time only."""

    async def main() -> float:
        await asyncio.sleep(3600)
        return now()

    began = time.process_time()
    assert run(main()) == pytest.approx(3600)
    assert time.process_time() - began < 1


def test_a_month_passes_too() -> None:
    """Longer than the loop itself is willing to wait in one go."""

    async def main() -> float:
        await asyncio.sleep(30 * 86400)
        return now()

    assert run(main()) == pytest.approx(30 * 86400)


def test_timeouts_are_virtual() -> None:
    """`asyncio.timeout` ends at its virtual moment, neither before nor after."""

    async def main() -> float:
        async with asyncio.timeout(10):
            await asyncio.sleep(9.999)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(10.001)
        return now()

    assert run(main()) == pytest.approx(19.999)


async def interleave() -> str:
    """Which of five tasks took its steps when."""
    order: list[str] = []

    async def steps(name: str) -> None:
        for _ in range(4):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(*(steps(name) for name in "abcde"))
    return "".join(order)


def test_the_same_seed_gives_the_same_schedule() -> None:
    """A failure that a seed found is found again."""
    assert run(interleave(), seed=7) == run(interleave(), seed=7)


def test_other_seeds_give_other_schedules() -> None:
    """Twenty seeds see nearly twenty interleavings of five tasks."""
    assert len({run(interleave(), seed=seed) for seed in range(20)}) > 15


def test_without_a_seed_tasks_keep_their_order() -> None:
    """The schedule of an ordinary loop."""
    assert run(interleave(), seed=None) == "abcde" * 4


def test_plain_callbacks_keep_their_order_under_any_seed() -> None:
    """asyncio promises it, so protocols lean on it."""

    async def main() -> list[int]:
        called: list[int] = []
        for number in range(50):
            asyncio.get_running_loop().call_soon(called.append, number)
        await asyncio.sleep(1)
        return called

    assert all(run(main(), seed=seed) == list(range(50)) for seed in range(5))


def test_time_stands_still_while_a_thread_works() -> None:
    """A timer set for an hour later does not overtake a thread that is under way."""
    release = Event()

    async def main() -> list[str]:
        order: list[str] = []

        async def timer() -> None:
            await asyncio.sleep(3600)
            order.append("timer")

        async def thread() -> None:
            asyncio.get_running_loop().call_later(0, release.set)
            await asyncio.to_thread(release.wait)
            order.append(f"thread at {now()}")

        await asyncio.gather(timer(), thread())
        return order

    assert run(main()) == ["thread at 0.0", "timer"]


def test_a_stalled_program_says_who_waits() -> None:
    """Instead of hanging the test run."""

    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    loop = VirtualLoop(stall_limit_s=0.01)
    task = loop.create_task(waits(), name="anna")
    try:
        with pytest.raises(Stalled, match=r"anna \(.*test_loop.py"):
            loop.run_until_complete(task)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()


def test_something_from_another_thread_is_not_a_stall() -> None:
    """What comes from outside while all wait is waited for."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(loop.call_soon_threadsafe, answer.set_result, 42)
            return await answer

    assert run(main()) == 42


def test_tasks_left_running_are_an_error() -> None:
    """A main coroutine that ends while its children run has lost them."""

    async def main() -> asyncio.Task[None]:
        return asyncio.create_task(asyncio.sleep(3600), name="orphan")

    with pytest.raises(LeftOver, match="orphan"):
        run(main())


def test_a_failing_program_fails_as_itself() -> None:
    """Its own error comes out, not one about what it left."""

    async def main() -> None:
        asyncio.create_task(asyncio.sleep(3600))  # noqa: RUF006 - left on purpose
        raise LookupError("no such shelf")

    with pytest.raises(LookupError, match="no such shelf"):
        run(main())


def test_the_loops_clock_is_the_virtual_time() -> None:
    """Wall time starts at a fixed moment and may be set wrong; monotonic time is the loop's."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock: Clock = LoopClock(loop)
        ahead = LoopClock(loop, ahead_us=86_400_000_000)
        assert (clock.now_us(), clock.monotonic()) == (EPOCH_US, 0.0)
        await asyncio.sleep(1.5)
        assert clock.now_us() == EPOCH_US + 1_500_000
        assert ahead.now_us() - clock.now_us() == 86_400_000_000
        assert clock.monotonic() == ahead.monotonic() == pytest.approx(1.5)

    run(main())
