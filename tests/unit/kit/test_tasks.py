"""An owner's tasks have names, their errors are heard of once, and after stop none is left."""

from __future__ import annotations

import asyncio
import logging

import pytest

from holdfast.kit.tasks import TaskOwner
from holdfast.testing.loop import run


async def forever() -> None:
    await asyncio.Event().wait()


async def breaks() -> None:
    raise LookupError("no such shelf")


async def test_a_task_is_named_after_its_owner() -> None:
    """What hangs can be found by its name."""
    owner = TaskOwner("pump")
    assert owner.start(forever(), name="left").get_name() == "pump.left"
    await owner.stop()


async def test_a_task_gives_its_result_and_is_let_go_of() -> None:
    """An owner keeps what runs, not what is over."""

    async def answers() -> int:
        return 42

    owner = TaskOwner("pump")
    assert await owner.start(answers(), name="answer") == 42
    await asyncio.sleep(0)
    assert len(owner) == 0
    await owner.stop()


async def test_stop_returns_when_all_have_ended() -> None:
    """Also those that need several turns to clean up."""
    ended: list[int] = []

    async def cleans_up(number: int) -> None:
        try:
            await forever()
        finally:
            for _ in range(number):
                await asyncio.sleep(0)
            ended.append(number)

    owner = TaskOwner("pump")
    for number in range(3):
        owner.start(cleans_up(number), name=str(number))
    await asyncio.sleep(0)
    await owner.stop()
    assert sorted(ended) == [0, 1, 2] and len(owner) == 0


async def test_stop_works_before_start_and_twice() -> None:
    """Whoever cleans up need not know how far things had come."""
    owner = TaskOwner("pump")
    await owner.stop()
    await owner.stop()


async def test_nothing_starts_after_stop() -> None:
    """A late start is refused by name, and its coroutine is not left un-awaited."""
    owner = TaskOwner("pump")
    await owner.stop()
    with pytest.raises(RuntimeError, match=r"pump has stopped: task 'late'"):
        owner.start(forever(), name="late")


async def test_an_error_is_logged_once_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    """The hook gets the task's name and the error; cancelled tasks are not errors."""
    heard: list[tuple[str, BaseException]] = []
    owner = TaskOwner("pump", on_error=lambda name, error: heard.append((name, error)))
    with caplog.at_level(logging.ERROR, "holdfast.kit.tasks"):
        await asyncio.wait([owner.start(breaks(), name="left")])
        owner.start(forever(), name="right")
        await owner.stop()
    assert [(name, str(error)) for name, error in heard] == [("pump.left", "no such shelf")]
    assert [record.getMessage() for record in caplog.records] == ["task pump.left ended with an error"]


async def test_one_task_can_be_cancelled_alone() -> None:
    """The others run on."""
    owner = TaskOwner("pump")
    left, right = owner.start(forever(), name="left"), owner.start(forever(), name="right")
    await owner.cancel(left)
    assert left.cancelled() and not right.done()
    await owner.stop()


async def test_a_task_may_stop_its_own_owner() -> None:
    """It is not waited for by itself."""
    owner = TaskOwner("pump")
    owner.start(forever(), name="other")
    last = owner.start(owner.stop(), name="last")
    await last
    await asyncio.sleep(0)
    assert len(owner) == 0


def test_a_task_that_ignores_cancellation_is_named_and_cancelled_again(caplog: pytest.LogCaptureFixture) -> None:
    """Stopping never gives up silently, and says who holds it up."""

    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        owner = TaskOwner("pump", patience_s=5)
        owner.start(stubborn(), name="mule")
        await asyncio.sleep(0)
        await owner.stop()
        assert asyncio.get_running_loop().time() == pytest.approx(5)

    run(main())
    assert "pump.mule; cancelling again" in caplog.text
