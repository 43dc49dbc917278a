"""A runner for tests: memory store, real codecs, virtual clock, seeded randomness.

Time is virtual for the whole event loop while the runner is open. It moves by itself only when nothing else can go on:
a handler that sleeps an hour takes no time at all, a call's timeout passes at once where nobody will answer, and what
is due later stays due later until the test moves the clock or waits for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from holdfast.entities.door import Link
from holdfast.runtime.app import App
from holdfast.runtime.runner import Runner
from holdfast.storage.memory.journal import StorageFaults

from .borrowed import virtual_time
from .clock import VirtualClock
from .places import Place, place_of
from .time import VirtualTime

SETTLE_TIMEOUT_S = 600.0
LOOK_EVERY_S = 0.01
CATCH_UP_EVERY_S = 0.001


class NotSettled(AssertionError):
    """Something is still under way although a lot of virtual time has passed."""


class LiveRunner:
    """An App's runner in the hands of a test."""

    def __init__(self, app: App, *, place: Place, time: VirtualTime, seed: int) -> None:
        loop = asyncio.get_running_loop()
        self._app = app
        self._place = place
        self._time = time
        self._random = random.Random(seed)
        self._open = AsyncExitStack()
        self._node: Runner | None = None
        self.clock = VirtualClock(loop, time, self._caught_up)

    async def start(self) -> None:
        """Opens the App on what the store holds. Raises what `app.runner()` raises."""
        await self._open.enter_async_context(self._app.opened(self._open_node))
        await self._time.rest()

    async def stop(self) -> None:
        """Drains and stops; the data stays."""
        self._node = None
        await self._open.aclose()

    async def restart(self) -> None:
        """Stops in order, and starts again on the same data."""
        await self.stop()
        await self.start()

    async def become(self, app: App) -> None:
        """Stops in order, and hosts another App on the same data: another version of the code, for example."""
        await self.stop()
        self._app = app
        await self.start()

    async def crash(self) -> None:
        """Starts again on the data as it is now: whatever the running runner has not committed is lost.

        Callers that wait get RunnerUnavailable or PersistenceError, as from a runner that goes away.
        """
        thaw = self._place.freeze()
        if self._node is not None:
            await self._node.stop()  # without draining
        await self.stop()
        thaw()
        await self.start()

    async def settle(self, *, timeout: float = SETTLE_TIMEOUT_S) -> None:
        """Returns when nothing is under way: nobody can go on, no message is in flight, no job runs or waits to run.

        What sleeps or waits in a handler gets the virtual time it needs, at most `timeout` seconds; what is due later
        (delays, timers, retries) is left for later. Raises NotSettled, naming what is under way.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while True:
            await self._time.rest()
            if not (under_way := self._under_way()):
                return
            if loop.time() >= until:
                raise NotSettled(f"after {timeout:g} s still under way: {', '.join(under_way)}")
            await asyncio.sleep(LOOK_EVERY_S)

    def _under_way(self) -> list[str]:
        return [] if self._node is None else self._node.under_way()

    async def _caught_up(self) -> None:
        """Coarse timers round up: what is due by now is given the moment it needs to begin."""
        await self._time.rest()
        while self._node is not None and self._node.overdue():
            await asyncio.sleep(CATCH_UP_EVERY_S)
            await self._time.rest()

    async def _open_node(self, link: Link) -> Runner:
        app = self._app
        node = Runner(
            store=await self._place.open(self.clock),
            entity_types=app.entity_types,
            job_types=app.job_types,
            orders=app.orders,
            link=link,
            settings=app.settings,
            metrics=app.metrics,
            clock=self.clock,
            rng=self._random,
        )
        try:
            await node.start()
        except BaseException:
            await node.stop()
            raise
        self._node = node
        return node


@asynccontextmanager
async def runner(
    app: App, *, store: str = "memory:", seed: int = 0, faults: StorageFaults | None = None
) -> AsyncGenerator[LiveRunner]:
    """Hosts the App's entities and jobs in this test.

    `store`: a URL, where the test is about one. `seed`: of all randomness (backoff, jitter). `faults`: what a memory
    store is to suffer. Raises UsageError on an event loop whose time can't be moved, and what `app.runner()` raises.
    """
    with virtual_time(asyncio.get_running_loop()) as time:
        live = LiveRunner(app, place=place_of(store, faults), time=time, seed=seed)
        await live.start()
        try:
            yield live
        finally:
            await live.stop()
