"""One message at a time; readonly ones together; a bounded mailbox; sync handlers and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from holdfast import Entity, Module, message, stream
from holdfast.errors import ConfigurationError, MailboxFull, UsageError

from .conftest import Hosting

shop = Module()
events: list[str] = []


@dataclass
class Stock:
    items: dict[str, int] = field(default_factory=dict)


@shop.entity(mailbox=3)
class Shelf(Entity[Stock]):
    @message
    async def put(self, sku: str, pause: float = 0.0) -> int:
        events.append(f"+put {sku}")
        count = self.state.items.get(sku, 0)
        await asyncio.sleep(pause)
        self.state.items[sku] = count + 1
        events.append(f"-put {sku}")
        return count + 1

    @message(readonly=True)
    async def look(self, name: str, pause: float = 0.0) -> int:
        events.append(f"+look {name}")
        await asyncio.sleep(pause)
        events.append(f"-look {name}")
        return sum(self.state.items.values())

    @message(readonly=True)
    async def steal(self) -> None:
        self.state.items["stolen"] = 1

    @message(durable=True)
    async def deliver(self, sku: str) -> int:
        self.state.items[sku] = self.state.items.get(sku, 0) + 1
        return self.state.items[sku]


@shop.entity
class Plain(Entity[Stock]):
    @message
    def add(self, sku: str) -> int:
        self.state.items[sku] = self.state.items.get(sku, 0) + 1
        return self.state.items[sku]

    @message(durable=True)
    def add_durably(self, sku: str) -> int:
        return self.state.items.setdefault(sku, 5)

    @message(executor="thread")
    def work(self, sku: str) -> str:
        self.state.items[sku] = 1
        return threading.current_thread().name

    @message(executor="thread")
    def fail(self) -> None:
        self.state.items["x"] = 1
        raise LookupError("in a thread")

    @message
    def add_by_name(self, *, sku: str, count: int = 2) -> str:
        return f"{count} {sku}"

    @message(durable=True)
    async def add_more(self, sku: str, *, count: int = 2) -> str:
        return f"{count} {sku}"

    @stream
    async def names(self, *, count: int = 2) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    @message
    async def add_both(self) -> tuple[int, int]:
        return await self.add("a"), await self.add("b")

    @message(readonly=True)
    async def count(self) -> int:
        return sum(self.state.items.values())


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    yield


async def test_messages_of_one_entity_are_handled_one_at_a_time(hosting: Hosting) -> None:
    """Each reads, waits and writes; none is lost."""
    async with hosting(shop) as (app, _):
        shelf = app.ref(Shelf, "s")
        await shelf.put("a", pause=0.5)
        replies = await asyncio.gather(*(shelf.put("a", pause=0.5) for _ in range(3)))
        assert replies == [2, 3, 4]
        assert events == ["+put a", "-put a"] * 4


async def test_messages_of_several_entities_are_handled_together(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        before = t.clock.now
        await asyncio.gather(*(app.ref(Shelf, str(n)).put("a", pause=5) for n in range(20)))
        assert (t.clock.now - before).total_seconds() < 6


async def test_readonly_messages_are_handled_together(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        shelf = app.ref(Shelf, "s")
        await shelf.put("a")
        events.clear()
        before = t.clock.now
        assert await asyncio.gather(*(shelf.look(str(n), pause=5) for n in range(5))) == [1] * 5
        assert (t.clock.now - before).total_seconds() < 6


async def test_readonly_messages_are_never_handled_beside_a_writing_one(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        shelf = app.ref(Shelf, "s")
        await shelf.put("a")
        events.clear()
        await asyncio.gather(
            shelf.look("1", pause=1), shelf.put("b", pause=1), shelf.look("2", pause=1), shelf.look("3", pause=1)
        )
        assert events[:4] == ["+look 1", "-look 1", "+put b", "-put b"]
        assert set(events[4:6]) == {"+look 2", "+look 3"}


async def test_a_writer_is_not_starved_by_readers(hosting: Hosting) -> None:
    """First come, first served: a reader that comes after a waiting writer waits behind it."""
    async with hosting(shop) as (app, _):
        shelf = app.ref(Shelf, "s")
        await shelf.put("a")
        first = asyncio.create_task(shelf.look("1", pause=1))
        await asyncio.sleep(0.5)
        writer = asyncio.create_task(shelf.put("b"))
        await asyncio.sleep(0.1)
        late = asyncio.create_task(shelf.look("2"))
        await asyncio.gather(first, writer, late)
        assert events[-5:] == ["-look 1", "+put b", "-put b", "+look 2", "-look 2"]


async def test_a_readonly_message_that_changes_the_state_raises_and_is_taken_back(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        shelf = app.ref(Shelf, "s")
        with pytest.raises(UsageError, match="readonly"):
            await shelf.steal()
        assert await shelf.look("after") == 0


async def test_a_full_mailbox_refuses_and_loses_nothing(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        shelf = app.ref(Shelf, "s")
        await shelf.put("a")
        running = asyncio.create_task(shelf.put("a", pause=10))
        await asyncio.sleep(0.1)
        waiting = [asyncio.create_task(shelf.put("a")) for _ in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises(MailboxFull) as caught:
            await shelf.put("a")
        assert caught.value.executed == "no"
        with pytest.raises(MailboxFull):
            await shelf.deliver("a")
        with pytest.raises(MailboxFull):
            await shelf.deliver.send("a")
        assert [await running, *[await one for one in waiting]] == [2, 3, 4, 5]
        await t.settle()
        assert await shelf.put("a") == 6


async def test_a_sync_handler_works_like_any_other(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        plain = app.ref(Plain, "p")
        assert [await plain.add("a"), await plain.add("a")] == [1, 2]
        assert await plain.add_durably("b") == 5
        await t.restart()
        assert await plain.count() == 7


async def test_parameters_that_have_to_be_named_are_passed_by_name(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        plain = app.ref(Plain, "p")
        assert [await plain.add_by_name(sku="a"), await plain.add_by_name(sku="a", count=3)] == ["2 a", "3 a"]
        assert [await plain.add_more("a"), await plain.add_more("a", count=3)] == ["2 a", "3 a"]
        assert [number async for number in plain.names(count=3)] == [0, 1, 2]


async def test_a_handler_in_a_thread_changes_the_state_like_any_other(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        plain = app.ref(Plain, "p")
        assert (await plain.work("a")).startswith("holdfast-handler")
        await t.restart()
        assert await plain.count() == 1


async def test_what_a_failed_handler_in_a_thread_changed_is_taken_back(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        plain = app.ref(Plain, "p")
        with pytest.raises(Exception, match="LookupError"):
            await plain.fail()
        assert await plain.count() == 0


async def test_a_message_called_on_the_live_instance_is_a_plain_call(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        assert await app.ref(Plain, "p").add_both() == (1, 1)


def test_only_a_sync_handler_runs_in_a_thread() -> None:
    async def work(self: Entity[None]) -> None: ...

    with pytest.raises(ConfigurationError, match="thread"):
        message(executor="thread")(work)
