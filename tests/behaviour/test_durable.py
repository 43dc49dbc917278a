"""Durable messages: accepted is processed, the same key has the same effect, in the order sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Entity, Module, Settings, message
from holdfast.errors import KeyConflict, MalformedMessage, MessageNotFound, UsageError
from holdfast.settings import EntitySettings, RetentionSettings

from .conftest import Hosting

shop = Module()
events: list[str] = []


class Refused(Exception):
    pass


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)


@shop.entity
class Ledger(Entity[Log]):
    @message(durable=True)
    async def note(self, line: str) -> int:
        events.append(line)
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(durable=True)
    async def note_slowly(self, line: str) -> int:
        events.append(f"+{line}")
        await asyncio.sleep(5)
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(durable=True, dedupe="order", errors=(Refused,))
    async def order(self, order: str, amount: int = 1) -> int:
        if amount < 0:
            raise Refused(order)
        self.state.lines.append(order)
        return len(self.state.lines)

    @message(durable=True, dedupe="reference")
    async def refer(self, reference: str | None) -> int:
        self.state.lines.append(str(reference))
        return len(self.state.lines)

    @message(readonly=True)
    async def show(self) -> list[str]:
        return self.state.lines


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    yield


async def test_a_durable_message_can_be_called_for_its_reply(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        assert await app.ref(Ledger, "l").note("a") == 1
        assert await app.cluster.send(Ledger.note, "l", "b") == 2
        await t.crash()
        assert await app.ref(Ledger, "l").show() == ["a", "b"]


async def test_a_send_through_the_service_is_as_durable_as_one_through_a_ref(hosting: Hosting) -> None:
    """It leaves its outcome behind, which a call in memory would not."""
    async with hosting(shop) as (app, _t):
        assert await app.cluster.send(Ledger.order, "l", "o-1") == 1
        assert await app.cluster.send(Ledger.order, "l", "o-1") == 1
        assert await app.ref(Ledger, "l").show() == ["o-1"]


async def test_a_send_returns_a_receipt_for_the_outcome(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Ledger, "l").note.send("a")
        assert receipt.duplicate is False
        assert await app.cluster.result(receipt) == 1
        await t.restart()
        assert await app.cluster.result(receipt) == 1


async def test_what_a_send_acknowledged_survives_a_crash(hosting: Hosting) -> None:
    """Handled or not, it is handled once in the end."""
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        receipts = [await ledger.note_slowly.send(str(number)) for number in range(3)]
        await t.crash()
        await t.settle()
        assert await ledger.show() == ["0", "1", "2"]
        assert [await app.cluster.result(receipt) for receipt in receipts] == [1, 2, 3]


async def test_a_send_to_a_busy_entity_is_acknowledged_before_its_turn(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        before = t.clock.now
        for number in range(3):
            await ledger.note_slowly.send(str(number))
        assert t.clock.now - before < timedelta(seconds=1)
        await t.settle()
        assert t.clock.now - before >= timedelta(seconds=15)


async def test_messages_of_one_sender_are_handled_in_the_order_sent(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        await ledger.note_slowly.send("0")
        for number in range(1, 20):
            await ledger.note.send(str(number))
        await t.crash()
        await ledger.note.send("20")
        await t.settle()
        assert await ledger.show() == [str(number) for number in range(21)]


async def test_a_repeated_key_returns_the_first_outcome(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        first = await ledger.note.opts(key="k").send("a")
        again = await ledger.note.opts(key="k").send("a")
        await t.settle()
        late = await ledger.note.opts(key="k").send("a")
        await t.restart()
        later = await ledger.note.opts(key="k").send("a")
        assert [first.duplicate, again.duplicate, late.duplicate, later.duplicate] == [False, True, True, True]
        for receipt in (first, again, late, later):
            assert await app.cluster.result(receipt) == 1
        assert await ledger.note.opts(key="k")("a") == 1
        assert await ledger.show() == ["a"]


async def test_a_repeated_call_waits_for_the_first(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        slow = app.ref(Ledger, "l").note_slowly.opts(key="k")
        assert await asyncio.gather(*(slow("a") for _ in range(3))) == [1, 1, 1]
        assert events == ["+a"]


async def test_many_at_once_under_one_key_have_one_effect(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        note = app.ref(Ledger, "l").note.opts(key="k")
        receipts = await asyncio.gather(*(note.send("a") for _ in range(10)))
        assert sorted(bool(receipt.duplicate) for receipt in receipts) == [False] + [True] * 9
        assert len({receipt.message_id for receipt in receipts}) == 1
        await t.settle()
        assert await app.ref(Ledger, "l").show() == ["a"]


async def test_a_key_that_was_used_with_another_payload_is_a_conflict(hosting: Hosting) -> None:
    """While the first waits, and after it is done."""
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        await ledger.note_slowly.opts(key="k").send("a")
        for _ in range(2):
            with pytest.raises(KeyConflict):
                await ledger.note_slowly.opts(key="k").send("b")
            with pytest.raises(KeyConflict):
                await ledger.note_slowly.opts(key="k")("b")
            await t.settle()
        assert await ledger.show() == ["a"]


async def test_a_key_is_known_per_entity_and_method(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Ledger, "l").note.opts(key="k").send("a")
        await app.ref(Ledger, "l").note_slowly.opts(key="k").send("b")
        await app.ref(Ledger, "m").note.opts(key="k").send("c")
        await t.settle()
        assert (await app.ref(Ledger, "l").show(), await app.ref(Ledger, "m").show()) == (["a", "b"], ["c"])


async def test_dedupe_takes_the_key_from_an_argument(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        assert [await ledger.order("o-1"), await ledger.order("o-1", 1), await ledger.order("o-2")] == [1, 1, 2]
        with pytest.raises(KeyConflict):
            await ledger.order("o-1", 2)
        for _ in range(2):
            with pytest.raises(Refused):
                await ledger.order("o-3", -1)
        await t.settle()
        assert await ledger.show() == ["o-1", "o-2"]


async def test_an_argument_that_is_none_is_no_key(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        ledger = app.ref(Ledger, "l")
        assert [await ledger.refer(None), await ledger.refer(None)] == [1, 2]
        assert [await ledger.refer("r"), await ledger.refer("r")] == [3, 3]


async def test_a_delayed_message_comes_at_its_time(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        await ledger.note.opts(delay=60).send("delayed")
        await ledger.note.opts(at=t.clock.now + timedelta(seconds=30)).send("at")
        await ledger.note.send("now")
        await t.clock.advance(29.9)
        assert events == ["now"]
        await t.clock.advance(0.1)
        assert events == ["now", "at"]
        await t.clock.advance(30)
        assert events == ["now", "at", "delayed"]


async def test_a_delayed_message_survives_restarts(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        for seconds in (30, 60, 90):
            await ledger.note.opts(delay=seconds).send(str(seconds))
        await t.restart()
        await t.clock.advance(45)
        assert events == ["30"]
        await t.crash()
        await t.clock.advance(15)
        assert events == ["30", "60"]
        await t.stop()
        await t.clock.advance(100)
        await t.start()
        await t.settle()
        assert events == ["30", "60", "90"]


async def test_a_key_covers_a_delayed_message(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        note = app.ref(Ledger, "l").note.opts(key="k", delay=60)
        first, again = await note.send("a"), await note.send("a")
        await t.restart()
        later = await note.send("a")
        assert [first.duplicate, again.duplicate, later.duplicate] == [False, True, True]
        assert first.message_id == again.message_id == later.message_id
        waiting = asyncio.create_task(app.cluster.result(first, timeout=100))
        await t.clock.advance(60)
        assert await waiting == 1
        await t.settle()
        assert events == ["a"]


async def test_a_receipt_is_no_promise_for_ever(hosting: Hosting) -> None:
    retention = RetentionSettings(done=100, prune_every=10)
    async with hosting(shop, settings=Settings(retention=retention)) as (app, t):
        receipt = await app.ref(Ledger, "l").note.send("a")
        await t.clock.advance(90)
        assert await app.cluster.result(receipt) == 1
        await t.clock.advance(30)
        with pytest.raises(MessageNotFound):
            await app.cluster.result(receipt)


class SlowReader:
    """A store whose answers are a second old when they come, or as old as is said, one after the other."""

    def __init__(self, reader: Any, *seconds: float) -> None:
        self._reader = reader
        self._seconds = list(seconds)

    def __getattr__(self, name: str) -> Any:
        async def read(*args: Any) -> Any:
            answer = await getattr(self._reader, name)(*args)
            await asyncio.sleep(self._seconds.pop(0) if self._seconds else 1)
            return answer

        return read


@pytest.mark.parametrize("asked_at", [58.5, 59.5])
async def test_an_outcome_that_comes_while_it_is_looked_for_is_found(hosting: Hosting, asked_at: float) -> None:
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Ledger, "l").note.opts(delay=60).send("a")
        await t.clock.advance(asked_at)
        admission = t._node._incarnation.entities.admission  # type: ignore[union-attr]
        admission._reader = SlowReader(admission._reader)
        assert await app.cluster.result(receipt) == 1


@pytest.mark.parametrize("given_up", [None, 0, 1, 2])
async def test_what_is_sent_without_awaiting_one_before_the_next_is_handled_in_order(
    hosting: Hosting, given_up: int | None
) -> None:
    """Also where the key of an earlier one takes longer to be looked up, or its sender gives up meanwhile."""
    async with hosting(shop) as (app, t):
        ledger = app.ref(Ledger, "l")
        await ledger.note.send("first")
        admission = t._node._incarnation.entities.admission  # type: ignore[union-attr]
        admission._reader = SlowReader(admission._reader, 9, 1, 5)
        keys = ["a", None, "c", "d"]
        sends = [asyncio.ensure_future(ledger.note.opts(key=key).send(str(n))) for n, key in enumerate(keys)]
        await asyncio.sleep(0.5)
        if given_up is not None:
            sends[given_up].cancel()
        await asyncio.gather(*sends, return_exceptions=True)
        await t.settle()
        assert events == ["first", *(str(n) for n in range(len(keys)) if n != given_up)]


async def test_more_stored_messages_than_the_mailbox_holds_are_all_handled_in_order(hosting: Hosting) -> None:
    async with hosting(flood) as (app, t):
        await app.ref(Source, "s").flood(50)
        await t.settle()
        assert await app.ref(Sink, "k").show() == list(range(50))


async def test_stored_messages_wait_behind_those_that_found_no_room(hosting: Hosting) -> None:
    """A later message of the same sender does not pass earlier ones that wait in the store."""
    async with hosting(flood) as (app, t):
        source = app.ref(Source, "s")
        await source.flood(10)
        await source.flood(10)
        await t.settle()
        assert await app.ref(Sink, "k").show() == list(range(10)) * 2


flood = Module()


@dataclass
class Taken:
    numbers: list[int] = field(default_factory=list)


@flood.entity(mailbox=4)
class Sink(Entity[Taken]):
    @message(durable=True)
    async def take(self, number: int) -> None:
        await asyncio.sleep(0.1)
        self.state.numbers.append(number)

    @message(readonly=True)
    async def show(self) -> list[int]:
        return self.state.numbers


@flood.entity
class Source(Entity[None]):
    @message
    async def flood(self, count: int) -> None:
        for number in range(count):
            await self.ref(Sink, "k").take.send(number)


async def test_options_that_exclude_each_other_are_refused(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        note = app.ref(Ledger, "l").note
        with pytest.raises(UsageError):
            note.opts(delay=1, at=t.clock.now)
        with pytest.raises(UsageError):
            note.opts(at=t.clock.now.replace(tzinfo=None))
        for no_time in (0, -1, float("nan")):
            with pytest.raises(MalformedMessage, match="timeout"):
                note.opts(timeout=no_time)


async def test_arguments_larger_than_a_payload_may_be_are_refused(hosting: Hosting) -> None:
    """Wherever the entity lives: what one runner takes, several take too."""
    settings = Settings(entities=EntitySettings(payload_bytes_max=1000))
    async with hosting(shop, settings=settings) as (app, _):
        ledger = app.ref(Ledger, "l")
        assert await ledger.note("a" * 900) == 1
        for refused in (ledger.note("a" * 1001), ledger.note.send("a" * 1001)):
            with pytest.raises(MalformedMessage, match="payload_bytes_max"):
                await refused
        assert len(await ledger.show()) == 1
