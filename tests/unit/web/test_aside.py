"""Blocking calls run beside the loop, in bounds, and one that hangs holds nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event

import pytest

from holdfast.web.aside import Aside, Busy


@pytest.fixture
def release() -> Iterator[Event]:
    """Set at the end, so that calls which hang in a test do not hang after it."""
    event = Event()
    yield event
    event.set()


async def test_a_call_gives_its_result() -> None:
    """As if it had been called here."""
    assert await Aside("test").call(lambda: 42) == 42


@pytest.mark.parametrize("error", [LookupError("no such shelf"), TimeoutError("its own")])
async def test_a_call_raises_its_own_error(error: Exception) -> None:
    """Also when it looks like the timeout."""

    def breaks() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        await Aside("test").call(breaks)


async def test_the_loop_goes_on_while_a_call_blocks(release: Event) -> None:
    """The call ends because the loop was free to let it."""
    asyncio.get_running_loop().call_later(0.001, release.set)
    assert await Aside("test").call(lambda: release.wait(60))


async def test_a_hanging_call_is_given_up(release: Event) -> None:
    """Its caller hears of it; the call keeps its place until it ends."""
    aside = Aside("test", calls_max=1, timeout_s=0.01)
    with pytest.raises(Busy, match="more than"):
        await aside.call(release.wait)
    with pytest.raises(Busy, match="under way"):
        await aside.call(lambda: 1)


async def test_a_place_is_free_again_after_the_call() -> None:
    """The bound is on what is under way, not on what ever was."""
    aside = Aside("test", calls_max=1)
    assert [await aside.call(lambda: 1) for _ in range(10)] == [1] * 10


def test_a_call_that_outlives_its_loop_harms_nobody(release: Event, recwarn: pytest.WarningsRecorder) -> None:
    """Its outcome is dropped."""
    ended = Event()

    def outlives() -> None:
        release.wait()
        ended.set()

    async def main() -> None:
        with pytest.raises(Busy):
            await Aside("test", timeout_s=0.01).call(outlives)

    asyncio.run(main())
    release.set()
    assert ended.wait(60)
    assert not recwarn.list
