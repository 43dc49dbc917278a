"""What a caller is told: declared errors as themselves, others without internals, wrong uses with the remedy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from holdfast import App, Entity, Module, message, stream
from holdfast.errors import (
    CallCircle,
    ConfigurationError,
    HandlerFailed,
    MalformedMessage,
    MessageDead,
    NotAMessage,
    NotStarted,
    SendTimeout,
    UsageError,
)
from holdfast.settings import EntitySettings, Settings

from .conftest import Hosting

shop = Module()


class SoldOut(Exception):
    """Declared, with arguments."""


class SoldOutForGood(SoldOut):
    """Not declared itself."""


class Picky(Exception):
    """Can't be made from its `args`."""

    def __init__(self, sku: str, *, count: int) -> None:
        super().__init__(f"{sku}: {count}")
        self.count = count


@dataclass
class Count:
    tried: int = 0


@shop.entity
class Scale(Entity[None]):
    @message
    async def count(self, items: list[str]) -> int:
        return len(items)

    @stream
    async def each(self, items: list[str]) -> AsyncIterator[str]:
        for item in items:
            yield item


@shop.entity
class Stock(Entity[Count]):
    @message(errors=(SoldOut, Picky))
    async def take(self, how: str) -> None:
        await self._fail(how)

    @message(durable=True, errors=(SoldOut, Picky), max_deliveries=3)
    async def take_durably(self, how: str) -> None:
        self.state.tried += 1
        await self._fail(how)

    async def _fail(self, how: str) -> None:
        match how:
            case "declared":
                raise SoldOut("apple", 3, ["a", "b"])
            case "derived":
                raise SoldOutForGood("apple")
            case "picky":
                raise Picky("apple", count=3)
            case "unencodable":
                raise SoldOut(object())
            case _:
                raise LookupError("secret password")

    @message(readonly=True)
    async def tried(self) -> int:
        return self.state.tried

    @message(durable=True, max_deliveries=2)
    async def huge(self) -> int:
        return 2**80

    @stream
    async def lines(self) -> AsyncIterator[str]:
        yield "a"


@shop.entity
class Node(Entity[None]):
    @message
    async def call(self, path: list[str]) -> str:
        if not path:
            return self.id
        return await self.ref(Node, path[0]).call(path[1:])

    @message
    async def call_through_a_task(self, path: list[str]) -> str:
        return await asyncio.create_task(self.ref(Node, path[0]).call(path[1:]))

    @message(durable=True, max_deliveries=1)
    async def call_durably(self, path: list[str]) -> str:
        if not path:
            return self.id
        return await self.ref(Node, path[0]).call_durably(path[1:])

    @message
    async def call_mixed(self, path: list[str]) -> str:
        return await self.ref(Node, path[0]).call_durably(path[1:])


@pytest.mark.parametrize("name", ["take", "take_durably"])
async def test_a_declared_error_is_rebuilt_with_its_arguments(hosting: Hosting, name: str) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(SoldOut) as caught:
            await getattr(app.ref(Stock, "s"), name)("declared")
        assert type(caught.value) is SoldOut and caught.value.args == ("apple", 3, ["a", "b"])


@pytest.mark.parametrize("name", ["take", "take_durably"])
async def test_an_error_derived_from_a_declared_one_arrives_as_the_declared_one(hosting: Hosting, name: str) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(SoldOut) as caught:
            await getattr(app.ref(Stock, "s"), name)("derived")
        assert caught.value.args == ("apple",)


@pytest.mark.parametrize("name", ["take", "take_durably"])
async def test_a_declared_error_that_cannot_be_rebuilt_says_what_it_was(hosting: Hosting, name: str) -> None:
    """It is an outcome all the same: nothing is tried again."""
    async with hosting(shop) as (app, _):
        for how in ("picky", "unencodable"):
            with pytest.raises(HandlerFailed) as caught:
                await getattr(app.ref(Stock, "s"), name)(how)
            assert caught.value.error_type == ("Picky" if how == "picky" else "SoldOut")


async def test_a_declared_error_consumes_a_durable_message(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Stock, "s").take_durably.send("declared")
        await t.settle()
        with pytest.raises(SoldOut):
            await app.cluster.result(receipt)
        await t.restart()
        with pytest.raises(SoldOut) as caught:
            await app.cluster.result(receipt)
        assert caught.value.args == ("apple", 3, ["a", "b"])
        assert await app.ref(Stock, "s").tried() == 0


async def test_any_other_error_says_its_kind_and_an_incident_and_no_more(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(HandlerFailed) as caught:
            await app.ref(Stock, "s").take("other")
        assert caught.value.error_type == "LookupError" and caught.value.incident in str(caught.value)
        assert "secret" not in str(caught.value) and caught.value.executed == "no"


async def test_a_dead_message_says_why_it_died(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Stock, "s").take_durably.send("other")
        await t.clock.advance(30)
        with pytest.raises(MessageDead, match="LookupError"):
            await app.cluster.result(receipt)


async def test_a_durable_result_that_cannot_be_stored_is_a_failure(hosting: Hosting) -> None:
    """And the entity goes on."""
    async with hosting(shop) as (app, t):
        stock = app.ref(Stock, "s")
        receipt = await stock.huge.send()
        await t.clock.advance(30)
        with pytest.raises(MessageDead, match="SerializationError"):
            await app.cluster.result(receipt)
        assert await stock.tried() == 0


@pytest.mark.parametrize("path", [["a"], ["b", "a"], ["b", "c", "a"]])
async def test_a_call_that_waits_for_itself_raises(hosting: Hosting, path: list[str]) -> None:
    async with hosting(shop) as (app, _):
        node = app.ref(Node, "a")
        with pytest.raises(CallCircle):
            await node.call(path)
        with pytest.raises(CallCircle):
            await node.call_through_a_task(path)
        assert await node.call(["b", "c"]) == "c"


async def test_a_circle_of_durable_calls_does_not_wait_for_its_timeout(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        before = t.clock.now
        with pytest.raises(CallCircle):
            await app.ref(Node, "a").call_mixed(["a"])
        with pytest.raises(MessageDead, match="CallCircle"):
            await app.ref(Node, "a").call_durably(["b", "a"])
        assert (t.clock.now - before).total_seconds() < 1


async def test_a_ref_has_only_messages(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        stock: Any = app.ref(Stock, "s")
        for name in ("state", "transaction", "submit", "on_activate", "ref", "id", "nothing"):
            with pytest.raises(NotAMessage, match="ref has only messages"):
                getattr(stock, name)
        with pytest.raises(NotAMessage):
            stock.state = 3
        assert not hasattr(stock, "state")


async def test_what_types_forbid_is_refused_at_run_time(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(MalformedMessage):
            app.ref(Stock, cast(str, 5))
        with pytest.raises(ConfigurationError):
            app.ref(cast("type[Stock]", int), "x")
        stock: Any = app.ref(Stock, "s")
        with pytest.raises((NotAMessage, AttributeError)):
            stock.take.send("x")
        with pytest.raises(TypeError):
            stock.take_durably.opts(tiemout=1)
        with pytest.raises(UsageError):
            stock.take_durably.opts(every=5)
        with pytest.raises(TypeError):
            await stock.lines()


def test_nothing_works_before_the_app_is_started() -> None:
    app = App("shop", modules=[shop])
    stock = app.ref(Stock, "s")
    for call in (lambda: stock.take("x"), lambda: stock.take_durably.send("x"), lambda: stock.lines()):
        with pytest.raises(NotStarted, match=r"app\.runner"):
            call()
    with pytest.raises(NotStarted):
        app.cluster.health()


async def test_a_ref_outlives_the_runner(hosting: Hosting) -> None:
    app = App("shop", modules=[shop])
    stock = app.ref(Stock, "s")
    from holdfast import testing

    for _ in range(2):
        async with testing.runner(app):
            assert await stock.tried() == 0
        with pytest.raises(NotStarted):
            await stock.tried()


async def test_an_app_has_one_node_at_a_time(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(UsageError, match="already"):
            async with app.runner(store="memory:"):
                pass


async def test_callers_that_wait_when_the_runner_stops_are_told(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Stock, "s").take_durably.send("other")
        waiting = asyncio.create_task(app.cluster.result(receipt, timeout=10_000))
        await t.clock.advance(1)
        await t.restart()
        with pytest.raises(Exception) as caught:
            await waiting
        assert not isinstance(caught.value, SendTimeout) and getattr(caught.value, "executed", "") == "unknown"


async def test_arguments_that_could_not_travel_are_refused_at_home_too(hosting: Hosting) -> None:
    """Or a program would work until its entities live on several runners."""
    settings = Settings(entities=EntitySettings(payload_bytes_max=1000))
    async with hosting(shop, settings=settings) as (app, _):
        scale = app.ref(Scale, "s")
        assert await scale.count(["a" * 900]) == 1
        for large in (["a" * 1001], ["a"] * 1001):
            with pytest.raises(MalformedMessage, match="payload_bytes_max"):
                await scale.count(large)
            with pytest.raises(MalformedMessage, match="payload_bytes_max"):
                assert [item async for item in scale.each(large)]
