"""An entity is in memory while it is used: it comes with its first message and goes when it is idle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from holdfast import App, Entity, Module, message
from holdfast.errors import HandlerFailed, SendTimeout

from .conftest import Hosting

shop = Module()
events: list[str] = []


@dataclass
class Visits:
    count: int = 0
    opened_as: str = ""


@shop.entity(idle_after=60.0)
class Desk(Entity[Visits]):
    def __init__(self) -> None:
        self.since_activation = 0

    async def on_activate(self) -> None:
        events.append(f"activate {self.id}")

    async def on_deactivate(self) -> None:
        events.append(f"deactivate {self.id} {self.state.count}")

    @message
    async def visit(self) -> tuple[int, int]:
        self.state.count += 1
        self.since_activation += 1
        return self.state.count, self.since_activation


@shop.entity(idle_after=60.0, keep_alive=True)
class Tower(Entity[None]):
    async def on_deactivate(self) -> None:
        events.append("tower fell")

    @message
    async def ping(self) -> None: ...


@shop.entity
class Named(Entity[Visits]):
    def initial(self) -> Visits:
        return Visits(opened_as=self.id)

    async def on_activate(self) -> None:
        self.state.count = 7

    @message(readonly=True)
    async def show(self) -> tuple[int, str]:
        return self.state.count, self.state.opened_as

    @message
    async def add(self) -> int:
        self.state.count += 1
        return self.state.count


@shop.entity
class Stubborn(Entity[None]):
    broken = True

    async def on_activate(self) -> None:
        if Stubborn.broken:
            raise LookupError("no key")

    @message
    async def ping(self) -> str:
        return "pong"


@shop.entity(idle_after=60.0)
class Sleepy(Entity[None]):
    """Hangs when it comes and when it goes."""

    asleep = True

    async def on_activate(self) -> None:
        await asyncio.sleep(3600 if Sleepy.asleep else 0)

    async def on_deactivate(self) -> None:
        await asyncio.sleep(3600 if Sleepy.asleep else 0)

    @message
    async def ping(self) -> str:
        return "pong"


@shop.entity
class Greeter(Entity[Visits]):
    """Its first act is a message to somebody else."""

    async def on_activate(self) -> None:
        await self.ref(Mail, "box").put.send(self.id)

    @message
    async def ping(self) -> None: ...


@shop.entity
class Mail(Entity[Visits]):
    @message(durable=True)
    async def put(self, sender: str) -> None:
        self.state.opened_as = sender
        self.state.count += 1

    @message(readonly=True)
    async def show(self) -> tuple[int, str]:
        return self.state.count, self.state.opened_as


@shop.entity
class Caller(Entity[Visits]):
    @message
    async def call(self, whom: str) -> None:
        await self.ref(Greeter, whom).ping()
        raise LookupError("and then it fails")

    @message(durable=True)
    async def order(self, whom: str) -> None:
        self.state.count += 1
        await self.ref(Greeter2, whom).put.send()


@shop.entity
class Greeter2(Greeter):
    @message(durable=True)
    async def put(self) -> None: ...


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    Stubborn.broken = Sleepy.asleep = True
    yield


async def test_an_entity_comes_with_its_first_message(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        desk = app.ref(Desk, "a")
        assert events == []
        assert await desk.visit() == (1, 1)
        assert await desk.visit() == (2, 2)
        assert events == ["activate a"]


async def test_an_idle_entity_goes_and_comes_back_with_its_state(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Desk, "a").visit()
        await t.clock.advance(59)
        assert events == ["activate a"]
        await t.clock.advance(4)
        assert events == ["activate a", "deactivate a 1"]
        assert await app.ref(Desk, "a").visit() == (2, 1)


async def test_a_message_keeps_an_entity_in_memory(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        for _ in range(5):
            await app.ref(Desk, "a").visit()
            await t.clock.advance(50)
        assert events == ["activate a"]


async def test_keep_alive_stays(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Tower, "eiffel").ping()
        await t.clock.advance(200)
        assert events == []
    assert events == ["tower fell"]


async def test_an_entity_that_is_live_at_the_end_is_deactivated(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        await app.ref(Desk, "a").visit()
    assert events == ["activate a", "deactivate a 1"]


async def test_the_first_state_may_depend_on_the_id(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        assert await app.ref(Named, "n").show() == (7, "n")


async def test_what_on_activate_sets_is_there_and_saved_with_the_next_change(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        named = app.ref(Named, "n")
        assert await named.show() == (7, "n")
        assert await named.add() == 8
        await t.restart()
        assert await named.add() == 8


async def test_an_entity_that_cannot_be_activated_says_so_and_is_tried_again(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(HandlerFailed) as caught:
            await app.ref(Stubborn, "s").ping()
        assert caught.value.error_type == "LookupError" and "no key" not in str(caught.value)
        Stubborn.broken = False
        assert await app.ref(Stubborn, "s").ping() == "pong"


async def test_an_entity_that_hangs_on_its_way_in_or_out_is_there_again(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        with pytest.raises(SendTimeout):
            await app.ref(Sleepy, "s").ping()
        await t.clock.advance(60)
        Sleepy.asleep = False
        assert await app.ref(Sleepy, "s").ping() == "pong"
        await app.ref(Desk, "a").visit()
        Sleepy.asleep = True
        await t.clock.advance(70)
        assert events == ["activate a", "deactivate a 1"]
        Sleepy.asleep = False
        assert await app.ref(Sleepy, "s").ping() == "pong"


async def test_what_on_activate_sends_is_its_own_and_not_its_callers(hosting: Hosting) -> None:
    """The caller's handler fails; what the other entity sent on its activation stays."""
    async with hosting(shop) as (app, t):
        with pytest.raises(HandlerFailed):
            await app.ref(Caller, "c").call("g")
        await t.settle()
        assert await app.ref(Mail, "box").show() == (1, "g")


async def test_an_entity_woken_by_an_outbox_message_may_send_on_its_activation(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Caller, "c").order("h")
        await t.settle()
        assert await app.ref(Mail, "box").show() == (1, "h")


async def test_another_incarnation_serves_the_same_state(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Desk, "a").visit()
        await t.crash()
        assert await app.ref(Desk, "a").visit() == (2, 1)


async def test_live_entities_are_counted(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        for number in range(3):
            await app.ref(Desk, str(number)).visit()
        assert _gauge(app, "cluster_entities_total") == 3
        await t.clock.advance(63)
        assert _gauge(app, "cluster_entities_total") == 0


def _gauge(app: App, name: str) -> float:
    lines = app.metrics.exposition()[1].decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)
