"""All that a handler does commits together or not at all: state, sends, jobs, timers, its own SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import App, Entity, MessageId, Module, Receipt, job_context, message, testing
from holdfast.errors import HandlerEnded, HandlerFailed, KeyConflict, MessageDead, UsageError

from .conftest import Hosting

shop = Module()
events: list[str] = []
kept: list[Any] = []


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)


@shop.job
async def mail(to: str) -> str:
    events.append(f"mail {to}")
    return to


@shop.job
async def in_blocks(fail: int) -> list[int]:
    """Writes three numbers, a block each, of which one fails; then reads what is there."""
    for number in (1, 2, 3):
        with suppress(LookupError):
            async with job_context().transaction() as tx:
                await tx.execute("CREATE TABLE IF NOT EXISTS numbers (n INTEGER)")
                await tx.execute("INSERT INTO numbers VALUES (?)", number)
                if number == fail:
                    raise LookupError
    async with job_context().transaction() as tx:
        return [int(str(row["n"])) for row in await tx.fetch("SELECT n FROM numbers ORDER BY rowid")]


@shop.entity
class Stock(Entity[Log]):
    @message(durable=True)
    async def reserve(self, order: str) -> None:
        events.append(f"reserve {order}")
        self.state.lines.append(order)

    @message(durable=True, dedupe="order")
    async def reserve_once(self, order: str, amount: int = 1) -> int:
        self.state.lines.append(order)
        return amount

    @message(readonly=True)
    async def show(self) -> list[str]:
        return self.state.lines


async def _reserve_mixed(stock: Stock, orders: list[str]) -> None:
    """Those in capitals under a key, the others without."""
    for order in orders:
        await (stock.reserve.opts(key=order) if order.isupper() else stock.reserve).send(order)


@shop.job
async def reserve_all(orders: list[str]) -> None:
    await _reserve_mixed(kept[0].ref(Stock, "s"), orders)


@shop.entity
class Cart(Entity[Log]):
    async def _all(self, order: str) -> None:
        self.state.lines.append(order)
        await self.ref(Stock, "s").reserve.send(order)
        await self.submit(mail, order)
        await self.note.opts(name="n", delay=60).send(order)

    @message
    async def order(self, order: str, fail: bool = False) -> None:
        await self._all(order)
        if fail:
            raise LookupError

    @message(durable=True, max_deliveries=2)
    async def order_durably(self, order: str, fail: bool = False) -> None:
        await self._all(order)
        if fail:
            raise LookupError

    @message
    async def order_slowly(self, order: str) -> None:
        await self._all(order)
        await asyncio.sleep(3600)

    @message(durable=True)
    async def note(self, line: str) -> None:
        events.append(f"note {line}")

    @message
    async def detached(self, order: str) -> None:
        await self.ref(Stock, "s").reserve.opts(detached=True).send(order)
        raise LookupError

    @message
    async def keep(self) -> None:
        kept.append(self)

        async def late() -> None:
            await asyncio.sleep(10)
            try:
                await self.ref(Stock, "s").reserve.send("late")
            except HandlerEnded:
                events.append("ended")

        kept.append(asyncio.create_task(late()))

    @message(readonly=True)
    async def peek(self) -> None:
        await self.ref(Stock, "s").reserve.send("from readonly")

    @message
    async def mixed(self, orders: list[str]) -> None:
        await _reserve_mixed(self.ref(Stock, "s"), orders)

    @message
    async def twice(self, order: str) -> list[bool]:
        stock = self.ref(Stock, "s")
        first, second = await stock.reserve_once.send(order), await stock.reserve_once.send(order)
        self.state.lines.append(order)
        return [bool(first.duplicate), bool(second.duplicate)]

    @message
    async def once(self, order: str, amount: int = 1) -> int:
        self.state.lines.append(order)
        return (await self.ref(Stock, "s").reserve_once.send(order, amount)).message_id

    @message(readonly=True)
    async def show(self) -> list[str]:
        return self.state.lines

    # SQL

    @message
    async def sql(self, order: str, fail: str = "") -> int:
        self.state.lines.append(order)
        await self.ref(Stock, "s").reserve.send(order)
        async with self.transaction() as tx:
            await tx.execute("CREATE TABLE IF NOT EXISTS orders (name TEXT PRIMARY KEY)")
            await tx.execute("INSERT INTO orders VALUES (?)", order)
            if fail == "inside":
                raise LookupError
        if fail == "after":
            raise LookupError
        async with self.transaction() as tx:
            return len(await tx.fetch("SELECT * FROM orders"))

    @message(durable=True, max_deliveries=2)
    async def sql_durably(self, order: str, fail: bool = False) -> int:
        events.append(f"sql {order}")
        self.state.lines.append(order)
        async with self.transaction() as tx:
            await tx.execute("CREATE TABLE IF NOT EXISTS orders (name TEXT PRIMARY KEY)")
            await tx.execute("INSERT INTO orders VALUES (?)", order)
            rows = await tx.fetch("SELECT * FROM orders")
        if fail:
            raise LookupError
        return len(rows)

    @message
    async def sql_forgiven(self, order: str) -> int:
        async with self.transaction() as tx:
            await tx.execute("CREATE TABLE IF NOT EXISTS orders (name TEXT PRIMARY KEY)")
        try:
            async with self.transaction() as tx:
                await tx.execute("INSERT INTO orders VALUES (?)", order)
                raise LookupError
        except LookupError:
            pass
        self.state.lines.append(order)
        async with self.transaction() as tx:
            return len(await tx.fetch("SELECT * FROM orders"))

    @message(durable=True, max_deliveries=2)
    async def sql_that_cannot_commit(self) -> None:
        self.state.lines.append("never")
        async with self.transaction() as tx:
            await tx.execute("CREATE TABLE IF NOT EXISTS a (id INTEGER PRIMARY KEY)")
            await tx.execute("CREATE TABLE IF NOT EXISTS b (a INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)")
            await tx.execute("INSERT INTO b VALUES (1)")

    @message(readonly=True)
    async def readonly_sql(self) -> None:
        async with self.transaction():
            pass

    @message
    async def keep_transaction(self) -> None:
        async with self.transaction() as tx:
            kept.append(tx)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    kept.clear()
    yield


@pytest.mark.parametrize("name", ["order", "order_durably"])
async def test_all_that_a_handler_leaves_commits_with_it(hosting: Hosting, name: str) -> None:
    async with hosting(shop) as (app, t):
        await getattr(app.ref(Cart, "c"), name)("o-1")
        await t.crash()
        await t.settle()
        assert set(events) == {"mail o-1", "reserve o-1"}
        await t.clock.advance(60)
        await t.settle()
        assert set(events) == {"mail o-1", "note o-1", "reserve o-1"}
        assert await app.ref(Cart, "c").show() == await app.ref(Stock, "s").show() == ["o-1"]


@pytest.mark.parametrize("name", ["order", "order_durably"])
async def test_a_handler_that_fails_has_left_nothing(hosting: Hosting, name: str) -> None:
    async with hosting(shop) as (app, t):
        with pytest.raises((HandlerFailed, MessageDead)):
            await getattr(app.ref(Cart, "c"), name)("o-1", True)
        await t.clock.advance(100)
        assert events == []
        assert await app.ref(Cart, "c").show() == []


async def test_a_cancelled_handler_has_left_nothing(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        call = asyncio.create_task(app.ref(Cart, "c").order_slowly("o-1"))
        await asyncio.sleep(10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await t.clock.advance(100)
        assert events == []
        assert await app.ref(Cart, "c").show() == []


async def test_nothing_leaves_before_the_handler_has_ended(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _t):
        call = asyncio.create_task(app.ref(Cart, "c").order_slowly("o-1"))
        await asyncio.sleep(10)
        assert events == []
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_a_detached_send_is_its_own(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        with pytest.raises(HandlerFailed):
            await app.ref(Cart, "c").detached("o-1")
        await t.settle()
        assert events == ["reserve o-1"]


async def test_doors_of_a_handler_that_has_ended_are_closed(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Cart, "c").keep()
        await t.settle()
        await kept[1]
        assert events == ["ended"]


async def test_a_readonly_handler_sends_nothing_durably(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        with pytest.raises(UsageError, match="readonly"):
            await app.ref(Cart, "c").peek()
        await t.settle()
        assert events == []


async def test_a_handlers_sends_are_deduplicated_like_any_other(hosting: Hosting) -> None:
    """By several handlers, by one twice, before the first is handled and after it is done."""
    async with hosting(shop) as (app, t):
        cart = app.ref(Cart, "c")
        await cart.once("o-1")
        await cart.once("o-1")
        await t.settle()
        await cart.once("o-1")
        await cart.twice("o-2")
        await asyncio.gather(*(app.ref(Cart, str(n)).once("o-3") for n in range(5)))
        await t.settle()
        assert sorted(await app.ref(Stock, "s").show()) == ["o-1", "o-2", "o-3"]
        assert await cart.show() == ["o-1", "o-1", "o-1", "o-2"]


async def test_what_a_handler_sends_with_and_without_keys_stays_in_order(hosting: Hosting) -> None:
    """Of one handler, of several in one commit, and of later ones."""
    async with hosting(shop) as (app, t):
        cart = app.ref(Cart, "c")
        orders = [["A", "b", "C"], ["d"], ["E"], ["f", "g"]]
        for some in orders[:2]:
            await cart.mixed(some)
        await asyncio.gather(*(cart.mixed(some) for some in orders[2:]))
        await t.settle()
        assert await app.ref(Stock, "s").show() == ["A", "b", "C", "d", "E", "f", "g"]
        kept.append(app)
        await reserve_all.submit(["H", "i"])
        await t.settle()
        assert (await app.ref(Stock, "s").show())[-2:] == ["H", "i"]


async def test_a_handlers_send_under_a_used_key_has_the_conflict_as_its_outcome(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        cart = app.ref(Cart, "c")
        await cart.once("o-1")
        await t.settle()
        conflicting = await cart.once("o-1", 2)
        await t.settle()
        with pytest.raises(KeyConflict):
            await app.cluster.result(Receipt(MessageId(conflicting), duplicate=None))
        assert await app.ref(Stock, "s").show() == ["o-1"]


async def test_own_sql_commits_with_the_state(hosting_sql: Hosting) -> None:
    async with hosting_sql(shop) as (app, t):
        cart = app.ref(Cart, "c")
        assert await cart.sql("o-1") == 1
        await t.crash()
        await t.settle()
        assert await cart.sql("o-2") == 2
        await t.settle()
        assert await app.ref(Stock, "s").show() == await cart.show() == ["o-1", "o-2"]


@pytest.mark.parametrize("fail", ["inside", "after"])
async def test_own_sql_of_a_handler_that_fails_is_taken_back(hosting_sql: Hosting, fail: str) -> None:
    async with hosting_sql(shop) as (app, t):
        cart = app.ref(Cart, "c")
        with pytest.raises(HandlerFailed):
            await cart.sql("o-1", fail)
        await t.settle()
        assert (events, await cart.show()) == ([], [])
        assert await cart.sql("o-1") == 1


async def test_an_error_that_leaves_a_transaction_block_takes_back_that_block(hosting_sql: Hosting) -> None:
    async with hosting_sql(shop) as (app, _):
        assert await app.ref(Cart, "c").sql_forgiven("o-1") == 0
        assert await app.ref(Cart, "c").show() == ["o-1"]


async def test_in_a_job_too_an_error_takes_back_its_own_block_and_no_other(hosting_sql: Hosting) -> None:
    async with hosting_sql(shop) as (_app, _):
        assert await (await in_blocks.submit(fail=2)).result() == [1, 3]
        assert await (await in_blocks.submit(fail=1)).result() == [1, 3, 2, 3]


async def test_a_durable_handlers_sql_commits_with_its_message(hosting_sql: Hosting) -> None:
    async with hosting_sql(shop) as (app, t):
        cart = app.ref(Cart, "c")
        assert await cart.sql_durably.opts(key="a")("o-1") == 1
        receipt = await cart.sql_durably.send("o-2")
        assert await app.cluster.result(receipt) == 2
        assert events == ["sql o-1", "sql o-2"]
        await t.crash()
        assert await cart.sql_durably.opts(key="a")("o-1") == 1
        with pytest.raises(MessageDead):
            await cart.sql_durably("o-3", True)
        assert await cart.sql_durably("o-4") == 3
        assert await cart.show() == ["o-1", "o-2", "o-4"]


async def test_sql_that_cannot_commit_is_a_failure_of_the_message(hosting_sql: Hosting) -> None:
    async with hosting_sql(shop) as (app, _):
        with pytest.raises(MessageDead):
            await app.ref(Cart, "c").sql_that_cannot_commit()
        assert await app.ref(Cart, "c").show() == []


async def test_concurrent_transactions_of_several_entities_all_commit(hosting_sql: Hosting) -> None:
    async with hosting_sql(shop) as (app, _):
        await asyncio.gather(*(app.ref(Cart, str(n)).sql(str(n)) for n in range(5)))
        assert await app.ref(Cart, "0").sql("last") == 6


async def test_a_transaction_belongs_to_a_writing_handler(hosting_sql: Hosting) -> None:
    async with hosting_sql(shop) as (app, _):
        with pytest.raises(UsageError, match="readonly"):
            await app.ref(Cart, "c").readonly_sql()
        await app.ref(Cart, "c").keep_transaction()
        with pytest.raises(Exception, match="over"):
            await kept[0].execute("SELECT 1")


async def test_a_memory_store_says_that_it_has_no_sql() -> None:
    app = App("shop", modules=[shop])
    async with testing.runner(app):
        with pytest.raises(UsageError, match="memory store has no SQL"):
            await app.ref(Cart, "c").sql("o-1")
        assert await app.ref(Cart, "c").show() == []
