"""Streams: pulled one by one, or exclusive with their effects committed at the end; never ahead of their consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from holdfast import Entity, Module, message, stream
from holdfast.errors import HandlerFailed, SendTimeout, UsageError

from .conftest import Hosting

shop = Module()
events: list[str] = []


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)


@shop.entity
class Book(Entity[Log]):
    @message
    async def write(self, line: str) -> int:
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(readonly=True)
    async def show(self) -> list[str]:
        return self.state.lines

    @stream
    async def read(self, limit: int = 100) -> AsyncIterator[str]:
        for number in range(limit):
            if number >= len(self.state.lines):
                return
            events.append(f"made {number}")
            yield self.state.lines[number]

    @stream
    async def fails(self) -> AsyncIterator[int]:
        yield 1
        raise LookupError("no more")

    @stream
    async def steals(self) -> AsyncIterator[int]:
        self.state.lines.append("stolen")
        yield 1

    @stream
    async def slow(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(3600)
        yield 2

    @stream
    async def lists(self) -> AsyncIterator[list[str]]:
        yield self.state.lines

    @stream(exclusive=True)
    async def drain(self, fail_at: int = -1, sleep_at: int = -1) -> AsyncIterator[str]:
        for number in range(5):
            self.state.lines.append(str(number))
            events.append(f"made {number}")
            yield f"line {number}"
            if number == fail_at:
                raise LookupError
            if number == sleep_at:
                events.append("sleeps")
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    events.append("cancelled")
                    raise
        events.append("end")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    yield


async def written(book: Book, count: int = 3) -> Book:
    for number in range(count):
        await book.write(str(number))
    return book


async def test_a_stream_gives_its_elements_in_order(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        book = await written(app.ref(Book, "b"))
        assert [line async for line in book.read()] == ["0", "1", "2"]
        assert [line async for line in book.read(limit=2)] == ["0", "1"]
        assert [line async for line in app.ref(Book, "empty").read()] == []


async def test_a_stream_is_not_made_faster_than_it_is_read(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        book = await written(app.ref(Book, "b"))
        async with aclosing(book.read()) as lines:  # type: ignore[type-var]
            await anext(lines)
            await t.settle()
            assert events == ["made 0"]


async def test_an_entity_serves_others_between_the_elements_of_a_stream(hosting: Hosting) -> None:
    """And the stream sees what they change."""
    async with hosting(shop) as (app, _):
        book = await written(app.ref(Book, "b"), 1)
        seen = []
        async for line in book.read():
            seen.append(line)
            if len(seen) < 4:
                await book.write(f"new {len(seen)}")
        assert seen == ["0", "new 1", "new 2", "new 3"]


async def test_an_entity_with_an_open_stream_stays_in_memory(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        book = await written(app.ref(Book, "b"))
        async with aclosing(book.read()) as lines:  # type: ignore[type-var]
            assert await anext(lines) == "0"
            await t.clock.advance(400)
            assert await anext(lines) == "1"


async def test_an_error_in_a_stream_reaches_its_consumer(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        seen = []
        with pytest.raises(HandlerFailed, match="LookupError"):
            async for number in app.ref(Book, "b").fails():
                seen.append(number)
        assert seen == [1]
        assert await app.ref(Book, "b").write("goes on") == 1


async def test_a_stream_that_changes_the_state_raises_and_is_taken_back(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(UsageError, match="readonly"):
            async for _ in app.ref(Book, "b").steals():
                pass
        assert await app.ref(Book, "b").show() == []


async def test_elements_are_not_shared(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        book = await written(app.ref(Book, "b"))
        async for lines in book.lists():
            lines.clear()
        assert await book.show() == ["0", "1", "2"]


async def test_the_timeout_is_for_each_element(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        seen = []
        with pytest.raises(SendTimeout):
            async for number in app.ref(Book, "b").slow.opts(timeout=5)():
                seen.append(number)
        assert seen == [1]
        assert await app.ref(Book, "b").show() == []


async def test_a_cancelled_consumer_cancels_a_stream(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):

        async def consume() -> None:
            async for _ in app.ref(Book, "b").slow():
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await app.ref(Book, "b").write("free again") == 1


async def test_an_exclusive_stream_commits_when_it_ends(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        assert [line async for line in app.ref(Book, "b").drain()] == [f"line {number}" for number in range(5)]
        await t.crash()
        assert await app.ref(Book, "b").show() == ["0", "1", "2", "3", "4"]


async def test_an_exclusive_stream_holds_the_entity(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        book = app.ref(Book, "b")
        async with aclosing(book.drain()) as lines:  # type: ignore[type-var]
            await anext(lines)
            writing = asyncio.create_task(book.write("later"))
            await t.clock.advance(5)
            assert not writing.done()
            assert [line async for line in lines] == ["line 1", "line 2", "line 3", "line 4"]
        assert await writing == 6


async def test_an_exclusive_stream_is_hardly_ahead_of_its_consumer(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t), aclosing(app.ref(Book, "b").drain()) as lines:  # type: ignore[type-var]
        await anext(lines)
        await t.clock.advance(1)
        assert len(events) <= 3


async def test_an_exclusive_stream_commits_what_it_did_when_its_consumer_stops(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        book = app.ref(Book, "b")
        async with aclosing(book.drain()) as lines:  # type: ignore[type-var]
            assert await anext(lines) == "line 0"
        shown = await book.show()
        assert shown == [str(number) for number in range(len(shown))] and 1 <= len(shown) <= 3
        assert "end" not in events
        await t.crash()
        assert await book.show() == shown


async def test_an_exclusive_stream_that_fails_is_taken_back(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        seen = []
        with pytest.raises(HandlerFailed, match="LookupError"):
            async for line in app.ref(Book, "b").drain(2):
                seen.append(line)
        assert seen == ["line 0", "line 1", "line 2"]
        assert await app.ref(Book, "b").show() == []


async def test_the_callers_cancel_gets_through_to_an_exclusive_stream(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        book = app.ref(Book, "b")

        async def consume() -> None:
            async for _ in book.drain.opts(timeout=1000)(sleep_at=1):
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(10)
        before = t.clock.now
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (t.clock.now - before).total_seconds() < 1
        assert await book.show() == []
        assert events[-1] == "cancelled"


async def test_an_exclusive_streams_consumer_does_not_wait_for_ever(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        book, before = app.ref(Book, "b"), t.clock.now
        with pytest.raises(SendTimeout):
            async for _ in book.drain.opts(timeout=5)(sleep_at=1):
                pass
        assert (t.clock.now - before).total_seconds() < 7
        assert await book.show() == []
