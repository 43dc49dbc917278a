"""State is saved with the message that changed it, or not at all; nobody shares a mutable value with an entity."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from holdfast import Entity, Module, message
from holdfast.errors import HandlerFailed, MalformedMessage, SendTimeout, SerializationError

from .conftest import Hosting

shop = Module()


class Refused(Exception):
    pass


@dataclass
class Line:
    sku: str
    tags: list[str] = field(default_factory=list)


@dataclass
class Order:
    lines: list[Line] = field(default_factory=list)
    notes: dict[str, list[int]] = field(default_factory=dict)


@shop.entity
class Cart(Entity[Order]):
    @message
    async def add(self, line: Line) -> list[Line]:
        self.state.lines.append(line)
        return self.state.lines

    @message(readonly=True)
    async def show(self) -> Order:
        return self.state

    @message
    async def mangle(self, how: str) -> None:
        self.state.lines[0].tags.append("mangled")
        self.state.notes.setdefault("n", []).append(1)
        match how:
            case "raise":
                raise LookupError("no")
            case "declare":
                pass
            case "time out" | "cancel":
                await asyncio.sleep(3600)

    @message(errors=(Refused,))
    async def refuse(self) -> None:
        self.state.lines[0].tags.append("refused")
        raise Refused

    @message
    async def break_it(self) -> None:
        self.state.lines = object()  # type: ignore[assignment]

    @message
    async def huge(self) -> None:
        self.state.notes["n"] = [2**80]

    @message
    async def wrong_result(self) -> int:
        self.state.notes["n"] = [1]
        return "three"  # type: ignore[return-value]

    @message
    async def count(self, number: int, names: list[str] | None = None) -> int:
        return number


LINE = Line("apple", ["red"])


async def test_state_is_on_disk_before_the_reply_leaves(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        await app.ref(Cart, "c").add(LINE)
        await t.crash()
        assert (await app.ref(Cart, "c").show()).lines == [LINE]


@pytest.mark.parametrize("how", ["raise", "time out", "cancel"])
async def test_what_a_handler_changed_is_taken_back_when_it_does_not_end_well(hosting: Hosting, how: str) -> None:
    """Nested values too."""
    async with hosting(shop) as (app, t):
        cart = app.ref(Cart, "c")
        await cart.add(LINE)
        match how:
            case "raise":
                with pytest.raises(HandlerFailed):
                    await cart.mangle(how)
            case "time out":
                with pytest.raises(SendTimeout):
                    await cart.mangle.opts(timeout=5)(how)
            case _:
                call = asyncio.create_task(cart.mangle(how))
                await asyncio.sleep(1)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
        assert await cart.show() == Order([LINE])
        await t.restart()
        assert await cart.show() == Order([LINE])


async def test_a_declared_error_leaves_the_state_as_it_was(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        cart = app.ref(Cart, "c")
        await cart.add(LINE)
        with pytest.raises(Refused):
            await cart.refuse()
        assert await cart.show() == Order([LINE])


@pytest.mark.parametrize("message_name", ["break_it", "huge"])
async def test_a_state_that_cannot_be_encoded_is_refused_and_taken_back(hosting: Hosting, message_name: str) -> None:
    async with hosting(shop) as (app, _):
        cart = app.ref(Cart, "c")
        await cart.add(LINE)
        with pytest.raises(SerializationError):
            await getattr(cart, message_name)()
        assert await cart.show() == Order([LINE])


async def test_a_result_of_the_wrong_type_is_refused_and_its_effects_taken_back(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        cart = app.ref(Cart, "c")
        with pytest.raises(SerializationError):
            await cart.wrong_result()
        assert await cart.show() == Order()


async def test_arguments_are_not_shared(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        cart, mine = app.ref(Cart, "c"), Line("pear", ["green"])
        await cart.add(mine)
        mine.tags.append("changed by the caller")
        assert (await cart.show()).lines == [Line("pear", ["green"])]


async def test_results_are_not_shared(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        cart = app.ref(Cart, "c")
        (await cart.add(Line("pear"))).append(Line("changed by the caller"))
        (await cart.show()).notes["changed"] = [1]
        assert await cart.show() == Order([Line("pear")])


async def test_wrong_arguments_are_refused_before_the_handler_sees_them(hosting: Hosting) -> None:
    """In the caller's own process as from afar; the error names the argument."""
    async with hosting(shop) as (app, _):
        cart = app.ref(Cart, "c")
        with pytest.raises(MalformedMessage, match="number"):
            await cart.count("three")  # type: ignore[arg-type]
        with pytest.raises(MalformedMessage, match="names"):
            await cart.count(3, [1])  # type: ignore[list-item]
        with pytest.raises(MalformedMessage, match="number"):
            await cart.count()  # type: ignore[call-arg]
        with pytest.raises(MalformedMessage, match="nmber"):
            await cart.count(3, nmber=3)  # type: ignore[call-arg]
        with pytest.raises(MalformedMessage):
            await cart.count(1, [], 3)  # type: ignore[call-arg]
        assert await cart.count(3, names=["a"]) == 3
