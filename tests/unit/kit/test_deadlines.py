"""The wheel fires what is due, in order, never early, from one timer; run in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kit.deadlines import Deadline, DeadlineWheel
from holdfast.testing.loop import VirtualLoop, run

Scene = Callable[[DeadlineWheel], Coroutine[Any, Any, None]]


def play(scene: Scene, *, tick_s: float = 0.01) -> None:
    async def main() -> None:
        await scene(DeadlineWheel(asyncio.get_running_loop(), tick_s=tick_s))

    run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


def timers() -> list[asyncio.TimerHandle]:
    """The timers that the running loop holds."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled()]


@given(st.lists(st.floats(0, 5), max_size=30))
def test_nothing_fires_early_and_nothing_a_tick_late(moments: list[float]) -> None:
    """Each deadline fires in the tick that follows its moment."""

    async def scene(wheel: DeadlineWheel) -> None:
        fired: list[tuple[float, float]] = []
        for moment in moments:
            wheel.add(moment, lambda moment=moment: fired.append((moment, now())))  # type: ignore[misc]
        await asyncio.sleep(6)
        assert sorted(moment for moment, _ in fired) == sorted(moments)
        assert all(-1e-9 <= at - moment <= 0.01 + 1e-9 for moment, at in fired)
        assert not len(wheel)

    play(scene)


def test_deadlines_of_one_tick_fire_in_the_order_they_were_added() -> None:
    """Determinism inside a tick is by insertion, not by exact time."""

    async def scene(wheel: DeadlineWheel) -> None:
        fired: list[str] = []
        wheel.add(0.009, lambda: fired.append("first"))
        wheel.add(0.005, lambda: fired.append("second"))
        await asyncio.sleep(0.02)
        assert fired == ["first", "second"]

    play(scene)


def test_a_cancelled_deadline_is_let_go_of() -> None:
    """Neither called nor kept: millions of answered calls must not stay until their deadlines."""

    async def scene(wheel: DeadlineWheel) -> None:
        deadlines = [wheel.after(30, lambda: pytest.fail("cancelled")) for _ in range(1000)]
        assert len(wheel) == 1000 and all(deadline.pending for deadline in deadlines)
        for deadline in deadlines:
            deadline.cancel()
            deadline.cancel()
        assert [deadline for deadline in deadlines if deadline.pending] == [] and len(wheel) == 0
        await asyncio.sleep(60)

    play(scene)


def test_the_loop_holds_one_timer_for_all_and_none_for_nothing() -> None:
    """Ten thousand deadlines cost the loop what one does; when all have passed it holds none."""

    async def scene(wheel: DeadlineWheel) -> None:
        assert not timers()
        for index in range(10_000):
            wheel.after(1 + index % 7, lambda: None)
        assert len(timers()) == 1
        await asyncio.sleep(10)
        assert not timers()

    play(scene)


def test_an_earlier_deadline_moves_the_timer_forward() -> None:
    """What is added last may be due first."""

    async def scene(wheel: DeadlineWheel) -> None:
        fired: list[float] = []
        for seconds in (3.0, 1.0, 2.0):
            wheel.after(seconds, lambda: fired.append(round(now(), 6)))
        await asyncio.sleep(4)
        assert fired == [1.0, 2.0, 3.0]

    play(scene)


def test_a_callback_may_cancel_another_of_its_tick() -> None:
    """The first answer wins, even when both deadlines have come."""

    async def scene(wheel: DeadlineWheel) -> None:
        others: list[Deadline] = []
        wheel.after(1, lambda: others[0].cancel())
        others.append(wheel.after(1, lambda: pytest.fail("cancelled by the one before it")))
        await asyncio.sleep(2)

    play(scene)


def test_a_callback_that_adds_what_is_due_does_not_hold_the_loop() -> None:
    """Others get their turn between two rounds of it."""

    async def scene(wheel: DeadlineWheel) -> None:
        rounds = 0

        def again() -> None:
            nonlocal rounds
            rounds += 1
            wheel.add(0.0, again)

        wheel.add(0.0, again)
        for _ in range(10):
            await asyncio.sleep(0)
        assert 1 < rounds < 20
        wheel.close()

    play(scene)


def test_a_raising_callback_is_reported_and_the_others_fire() -> None:
    """One bad callback is its own problem."""

    async def scene(wheel: DeadlineWheel) -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        fired: list[int] = []
        wheel.after(1, lambda: 1 // 0)
        wheel.after(1, lambda: fired.append(1))
        await asyncio.sleep(2)
        assert fired == [1]
        assert isinstance(reports[0]["exception"], ZeroDivisionError)

    play(scene)


@pytest.mark.parametrize("inside", [False, True], ids=["between ticks", "from a callback"])
def test_closing_forgets_everything(inside: bool) -> None:
    """After close nothing fires, not even what is due in the same tick."""

    async def scene(wheel: DeadlineWheel) -> None:
        deadlines = [wheel.after(1, wheel.close)] if inside else []
        deadlines += [wheel.after(1, lambda: pytest.fail("closed")), wheel.after(2, lambda: pytest.fail("closed"))]
        if not inside:
            wheel.close()
        await asyncio.sleep(3)
        assert not timers() and not any(deadline.pending for deadline in deadlines)

    play(scene)


def test_a_wheel_serves_on_after_it_was_empty() -> None:
    """Cancelled to the last one, then used again, for an earlier moment than the stale timer's."""

    async def scene(wheel: DeadlineWheel) -> None:
        wheel.after(30, lambda: None).cancel()
        fired: list[float] = []
        wheel.after(0.5, lambda: fired.append(now()))
        await asyncio.sleep(1)
        assert fired == pytest.approx([0.5])
        wheel.after(40, lambda: fired.append(now()))
        await asyncio.sleep(45)
        assert fired == pytest.approx([0.5, 41.0])

    play(scene)


def test_a_tick_of_nothing_is_refused() -> None:
    """A wheel that never moves is an error when it is made."""
    loop = VirtualLoop()
    try:
        with pytest.raises(ValueError, match="tick"):
            DeadlineWheel(loop, tick_s=0)
    finally:
        loop.close()
