"""Durable timers: once and repeating, replaced and cancelled by name, surviving restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from holdfast import Entity, Module, message, testing
from holdfast.entities.engine import EntityEngine
from holdfast.errors import HandlerFailed
from holdfast.model.address import Address

from .conftest import Hosting

shop = Module()
events: list[str] = []


@dataclass
class Ticks:
    count: int = 0


@shop.entity
class Clock(Entity[Ticks]):
    @message(durable=True)
    async def tick(self, name: str) -> None:
        events.append(name)
        self.state.count += 1

    @message
    async def start(self, every: float) -> None:
        await self.tick.opts(name="t", every=every).send("t")

    @message
    async def once(self, delay: float, line: str, name: str = "t") -> None:
        await self.tick.opts(name=name, delay=delay).send(line)

    @message
    async def start_and_fail(self, every: float) -> None:
        await self.tick.opts(name="t", every=every).send("t")
        raise LookupError

    @message
    async def twice(self) -> None:
        await self.tick.opts(name="t", delay=10).send("first")
        await self.tick.opts(name="t", delay=20).send("second")

    @message
    async def set_and_cancel(self) -> bool:
        await self.tick.opts(name="t", delay=10).send("cancelled")
        return await self.cancel_timer("t")

    @message
    async def stop(self) -> bool:
        return await self.cancel_timer("t")

    @message
    async def stop_slowly(self, seconds: float) -> bool:
        gone = await self.cancel_timer("t")
        await asyncio.sleep(seconds)
        return gone

    @message
    async def replace_slowly(self, seconds: float) -> None:
        await self.once(60, "second")
        await asyncio.sleep(seconds)

    @message
    async def stop_and_fail(self) -> None:
        await self.cancel_timer("t")
        raise LookupError

    @message(durable=True)
    async def thrice(self) -> None:
        """Repeats until it stops itself."""
        self.state.count += 1
        events.append(f"thrice {self.state.count}")
        if self.state.count == 3:
            assert await self.cancel_timer("self")

    @message(durable=True)
    async def slower(self, pause: float) -> None:
        """Sets itself anew under its own name, with another rhythm."""
        events.append(f"after {pause:g}")
        await self.slower.opts(name="self", every=pause * 2).send(pause * 2)

    @message(durable=True)
    async def long(self) -> None:
        events.append("+long")
        await asyncio.sleep(25)
        events.append("-long")

    @message(readonly=True)
    async def count(self) -> int:
        return self.state.count

    @message
    async def block(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SlowToTell:
    """A store whose answers are under way for a second."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    async def timer(self, address: Any, name: str) -> Any:
        row = await self._reader.timer(address, name)
        await asyncio.sleep(1)
        return row


class SlowToWrite:
    """A commit that others overtake."""

    def __init__(self, committer: Any) -> None:
        self._committer = committer

    async def written(self, shard: int, rows: Any) -> None:
        await asyncio.sleep(20)
        await self._committer.written(shard, rows)


def engine_of(t: testing.LiveRunner) -> EntityEngine:
    node: Any = t._node
    return cast(EntityEngine, node._incarnation.entities)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    yield


async def test_a_timer_comes_once_at_its_time(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").once(30, "ding")
        await t.clock.advance(29.9)
        assert events == []
        await t.clock.advance(100)
        assert events == ["ding"]


async def test_a_repeating_timer_comes_again_and_again(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").start(10)
        await t.clock.advance(35)
        assert events == ["t"] * 3
        assert await app.ref(Clock, "c").count() == 3


async def test_timers_survive_restarts(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").start(10)
        await app.ref(Clock, "c").once(15, "ding", name="other")
        await t.restart()
        await t.clock.advance(10)
        assert events == ["t"]
        await t.crash()
        await t.clock.advance(10)
        assert events == ["t", "ding", "t"]


async def test_occurrences_missed_while_nobody_ran_come_once(hosting: Hosting) -> None:
    """And the rhythm stays on its grid."""
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").start(10)
        await t.stop()
        await t.clock.advance(45)
        await t.start()
        await t.settle()
        assert events == ["t"]
        await t.clock.advance(4)
        assert events == ["t"]
        await t.clock.advance(1)
        assert events == ["t", "t"]


async def test_a_timer_set_again_replaces_the_first(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.once(10, "first")
        await clock.once(20, "second")
        await t.clock.advance(60)
        assert events == ["second"]
        assert await clock.count() == 1


async def test_a_timer_set_from_outside_replaces_the_first(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        tick = app.ref(Clock, "c").tick
        await tick.opts(name="t", delay=10).send("first")
        await tick.opts(name="t", every=20).send("second")
        await tick.opts(name="u", delay=10).send("other")
        await t.clock.advance(45)
        assert events == ["other", "second", "second"]


async def test_a_timer_set_twice_by_one_handler_is_the_second(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").twice()
        await t.clock.advance(60)
        assert events == ["second"]


async def test_a_timer_that_waits_in_the_mailbox_is_replaced_too(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.once(10, "first")
        blocking = asyncio.create_task(clock.block(25))
        await t.clock.advance(15)
        await clock.tick.opts(name="t", delay=60).send("second")
        await blocking
        await t.settle()
        assert events == []
        await t.clock.advance(100)
        assert events == ["second"]


async def test_a_timer_is_cancelled_by_name(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.start(10)
        await t.clock.advance(15)
        assert await clock.stop() is True
        assert await clock.stop() is False
        await t.clock.advance(60)
        assert events == ["t"]
        await t.restart()
        await t.clock.advance(60)
        assert events == ["t"]


async def test_a_timer_that_has_just_run_is_not_there_to_be_cancelled(hosting: Hosting) -> None:
    """Its commit, and that of who asks, may be one and the same, which the store has not seen yet."""
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.once(10, "ran")
        blocking = asyncio.create_task(clock.block(25))
        await t.clock.advance(15)
        stopping = asyncio.create_task(clock.stop())
        await t.clock.advance(20)
        await blocking
        assert await stopping is False
        assert events == ["ran"]
        assert await clock.count() == 1


async def test_a_timer_whose_run_commits_while_it_is_looked_up_is_not_there_to_be_cancelled(hosting: Hosting) -> None:
    """What the store said of it is old by the time it is heard."""
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.once(10, "ran")
        blocking = asyncio.create_task(clock.block(25))
        await t.clock.advance(15)
        stopping = asyncio.create_task(clock.stop())
        admission = engine_of(t).admission
        admission._reader = SlowToTell(admission._reader)  # type: ignore[assignment]
        await t.clock.advance(20)
        await blocking
        assert await stopping is False
        assert events == ["ran"]


async def test_a_timer_that_falls_due_while_it_is_being_cancelled_does_not_come(hosting: Hosting) -> None:
    """It waits behind the handler that cancels it, and for that one's commit."""
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.once(10, "ding")
        stopping = asyncio.create_task(clock.stop_slowly(25))
        await t.clock.advance(15)
        later = asyncio.create_task(clock.count())
        await t.clock.advance(100)
        assert await stopping is True
        assert await later == 0
        assert events == []


async def test_a_timer_that_falls_due_while_it_is_replaced_does_not_come(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.once(10, "first")
        replacing = asyncio.create_task(clock.replace_slowly(25))
        await t.clock.advance(30)
        await replacing
        assert events == []
        await t.clock.advance(100)
        assert events == ["second"]


async def test_a_repeating_timer_that_has_just_run_can_be_cancelled_before_that_is_stored(hosting: Hosting) -> None:
    """Its next occurrence must not come in with the very commit that cancels it."""
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.start(10)
        blocking = asyncio.create_task(clock.block(15))
        await t.clock.advance(11)
        stopping = asyncio.create_task(clock.stop())
        await t.clock.advance(5)
        await blocking
        assert await stopping is True
        assert events == ["t"]
        await t.clock.advance(100)
        assert events == ["t"]


async def test_a_repeating_timer_that_has_just_run_can_be_replaced_before_that_is_stored(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.start(10)
        blocking = asyncio.create_task(clock.block(15))
        await t.clock.advance(11)
        replacing = asyncio.create_task(clock.once(60, "second"))
        await t.clock.advance(5)
        await blocking
        await replacing
        await t.clock.advance(100)
        assert events == ["t", "second"]


async def test_a_timer_that_runs_before_its_cancel_is_written_was_not_there_to_be_cancelled(hosting: Hosting) -> None:
    """Cancelled from outside, where the entity goes on meanwhile."""
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").once(10, "ran")
        engine = engine_of(t)
        engine.admission._committer = SlowToWrite(engine.admission._committer)  # type: ignore[assignment]
        cancelling = asyncio.create_task(engine.door.cancel_timer(Address("Clock", "c"), "t"))
        await t.clock.advance(30)
        assert await cancelling is False
        assert events == ["ran"]


async def test_a_handler_that_fails_has_set_and_cancelled_nothing(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        with pytest.raises(HandlerFailed):
            await clock.start_and_fail(10)
        await t.clock.advance(60)
        assert events == []
        await clock.start(10)
        with pytest.raises(HandlerFailed):
            await clock.stop_and_fail()
        await t.clock.advance(10)
        assert events == ["t"]


async def test_a_timer_set_and_cancelled_by_one_handler_never_comes(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        clock = app.ref(Clock, "c")
        await clock.once(5, "earlier")
        assert await clock.set_and_cancel() is True
        await t.clock.advance(60)
        assert events == []


async def test_a_repeating_timer_may_stop_itself(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").thrice.opts(name="self", every=10).send()
        await t.clock.advance(100)
        assert events == ["thrice 1", "thrice 2", "thrice 3"]
        assert await app.ref(Clock, "c").count() == 3


async def test_a_repeating_timer_may_set_itself_anew(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").slower.opts(name="self", every=1.0).send(1.0)
        await t.clock.advance(10)
        assert events == ["after 1", "after 2", "after 4"]


async def test_a_timer_that_takes_longer_than_its_rhythm_skips(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").long.opts(name="l", every=10).send()
        await t.clock.advance(36)
        assert events == ["+long", "-long"]
        await t.clock.advance(5)
        assert events == ["+long", "-long", "+long"]


async def test_a_timer_keeps_an_entity_addressable_not_in_memory(hosting: Hosting) -> None:
    """It comes although nobody has touched the entity for long."""
    async with hosting(shop) as (app, t):
        await app.ref(Clock, "c").once(400, "ding")
        await t.clock.advance(401)
        assert events == ["ding"]
