"""The demo's shop: what an application on Holdfast looks like.

A customer fills a `Cart` and checks out. The checkout is durable: with one commit the cart is emptied, the warehouse is
told (`Stock.reserve`) and the card is to be charged (`charge_card`), or none of it happens. The bank is unreliable, so
charges are tried again, and some give up and become dead letters, which the shop's clerk replays. A timer restocks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from holdfast.entities.definition import message, stream
from holdfast.entities.entity import Entity
from holdfast.jobs.context import job_context
from holdfast.runtime.declarations import Module

shop = Module()

PRODUCTS = ("apple", "bread", "cheese", "dates", "eggs")
BANK_FAILURES = 0.25
SCANNER_FAILURES = 0.01
RESTOCK_EVERY_S = 2.0


class EmptyCart(Exception):
    """There is nothing to check out."""


class BankUnreachable(Exception):
    """The bank did not answer this time."""


@dataclass
class CartState:
    items: dict[str, int] = field(default_factory=dict[str, int])
    orders: list[str] = field(default_factory=list[str])


@dataclass
class StockState:
    reserved: dict[str, int] = field(default_factory=dict[str, int])
    restocked: int = 0


@shop.job(priority="high", max_attempts=3, timeout=5.0)
async def charge_card(order_id: str, cents: int) -> str:
    """The bank fails now and then; three times in a row make the charge a dead letter."""
    await asyncio.sleep(0.002)
    if random.random() < BANK_FAILURES:
        raise BankUnreachable(f"no answer for {order_id}")
    return f"{order_id}: {cents} cents, attempt {job_context().attempt}"


@shop.job(priority="low")
def print_label(order_id: str) -> str:
    """A plain function runs in a thread."""
    return f"[{order_id}]".center(40)


@shop.entity
class Stock(Entity[StockState]):
    """The warehouse. Its messages are stored first, and delivered again until they are done."""

    @message(durable=True, on_retry="step_aside")
    async def reserve(self, order_id: str, items: dict[str, int]) -> None:
        if random.random() < SCANNER_FAILURES:
            raise OSError("the scanner fell off the table")
        for product, count in items.items():
            self.state.reserved[product] = self.state.reserved.get(product, 0) + count
        await self.submit(print_label, order_id)

    @message(durable=True)
    async def restock(self) -> None:
        self.state.reserved.clear()
        self.state.restocked += 1

    @message(durable=True)
    async def open_shop(self) -> None:
        """Sets the timer, which survives restarts; a second one of the same name replaces it."""
        await self.restock.opts(name="restock", every=RESTOCK_EVERY_S).send()


@shop.entity(idle_after=5.0)
class Cart(Entity[CartState]):
    @message
    async def add(self, product: str, count: int = 1) -> int:
        self.state.items[product] = self.state.items.get(product, 0) + count
        return self.state.items[product]

    @message(readonly=True)
    async def total(self) -> int:
        return sum(self.state.items.values())

    @message(durable=True, dedupe="order_id", errors=(EmptyCart,))
    async def checkout(self, order_id: str) -> str:
        if not self.state.items:
            raise EmptyCart(self.id)
        await self.ref(Stock, "main").reserve.send(order_id, self.state.items)
        await self.submit(charge_card, order_id, 100 * sum(self.state.items.values()))
        self.state.items = {}
        self.state.orders = [*self.state.orders[-9:], order_id]
        return "accepted"

    @stream
    async def history(self) -> AsyncIterator[str]:
        for order_id in self.state.orders:
            yield order_id
