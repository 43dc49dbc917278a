"""Customers at a steady rate, and a clerk who replays what failed.

The load is bounded: where customers stay longer than expected, new ones turn away at the door rather than pile up.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import suppress

from holdfast.errors import HoldfastError, JobError
from holdfast.kit.tasks import TaskOwner
from holdfast.web.app import App

from .shop import PRODUCTS, Cart, EmptyCart, Stock

CUSTOMERS_MAX = 200
"""In the shop at the same time."""
CARTS = 100
CLERK_EVERY_S = 1.0
TICK_S = 0.02


class Load:
    """Belongs to the running event loop; `start` and `stop` once."""

    def __init__(self, app: App, *, rate: float, run: str) -> None:
        """`rate`: customers a second. `run`: makes order ids of this run its own, on a store that is kept."""
        self._app = app
        self._run = run
        self._rate = rate
        self._visits = itertools.count(1)
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._driving = TaskOwner("demo-load")
        self._customers = TaskOwner("demo-customers")
        self.turned_away = 0
        self.surprises: list[str] = []

    async def start(self) -> None:
        await self._app.ref(Stock, "main").open_shop.send()
        self._driving.start(self._doors(), name="doors")
        self._driving.start(self._clerk(), name="clerk")

    async def stop(self, *, patience_s: float) -> None:
        """Lets nobody in any more and waits for those inside; who is still there then is sent home."""
        await self._driving.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), patience_s)
        await self._customers.stop()

    async def _doors(self) -> None:
        loop = asyncio.get_running_loop()
        opened, let_in = loop.time(), 0
        while True:
            due = int((loop.time() - opened) * self._rate) - let_in
            for _ in range(due):
                let_in += 1
                if self._inside < CUSTOMERS_MAX:
                    self._customers.start(self._visit(next(self._visits)), name="customer")
                else:
                    self.turned_away += 1
            await asyncio.sleep(TICK_S)

    async def _visit(self, number: int) -> None:
        self._inside += 1
        self._empty.clear()
        try:
            await self._shop(number)
        except EmptyCart:
            pass  # another customer of the same cart was faster
        except HoldfastError as error:
            self._note(error)
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def _shop(self, number: int) -> None:
        cart = self._app.ref(Cart, f"cart-{number % CARTS}")
        for _ in range(random.randint(1, 3)):
            await cart.add(random.choice(PRODUCTS), random.randint(1, 3))
        await cart.total()
        if number % 2 == 0:
            await cart.checkout(f"order-{self._run}-{number}")
        if number % 10 == 0:
            async for _ in cart.history():
                pass

    async def _clerk(self) -> None:
        """Replays the charges that gave up: the bank may be back."""
        while True:
            await asyncio.sleep(CLERK_EVERY_S)
            for letter in await self._app.jobs.dead_letters(limit=20):
                try:
                    await self._app.jobs.replay(letter.id)
                except JobError as error:
                    self._note(error)

    def _note(self, error: HoldfastError) -> None:
        if len(self.surprises) < 100:
            self.surprises.append(f"{type(error).__name__}: {error}")
