"""The one shape of everything that runs beside the work: start, ready, stop.

`start` returns once the service is under way, `ready` once it does its work, `stop` once nothing of it is left. `stop`
works twice and before `start`. `Periodic` is the service most others are: one turn after another, where a turn that
raises is logged and reported, and the next one comes. `Services` starts several in order and stops them in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from .tasks import OnError, TaskOwner

log = logging.getLogger(__name__)


class Service(Protocol):
    """Something that is started, becomes ready and is stopped."""

    async def start(self) -> None:
        """Gets under way. Raises what makes it impossible; nothing is left running then."""
        ...

    async def ready(self) -> None:
        """Returns when the service does its work. Raises RuntimeError if it stopped before it did."""
        ...

    async def stop(self) -> None:
        """Ends all of it. Works twice and before `start`."""
        ...


class Periodic:
    """Runs a turn, waits, runs the next: at least `every_s` seconds between the end of one and the next, unless woken.

    Ready after the first turn that ended without an error.
    """

    def __init__(
        self, name: str, turn: Callable[[], Awaitable[None]], *, every_s: float, on_error: OnError | None = None
    ) -> None:
        self.name = name
        self._turn = turn
        self._every_s = every_s
        self._on_error = on_error
        self._owner = TaskOwner(name, on_error=on_error)
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._served = False

    async def start(self) -> None:
        self._owner.start(self._run(), name="turns")

    async def ready(self) -> None:
        await self._ready.wait()
        if not self._served:
            raise RuntimeError(f"{self.name} stopped before it was ready")

    async def stop(self) -> None:
        await self._owner.stop()
        self._ready.set()

    def wake(self) -> None:
        """Runs the next turn now, or right after the one that is running."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._take_turn()
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which on 3.11 swallows a cancellation that comes in the same pass as the wake-up.
                async with asyncio.timeout(self._every_s):
                    await self._wake.wait()

    async def _take_turn(self) -> None:
        try:
            await self._turn()
        except Exception as error:
            log.exception("a turn of %s failed; the next one comes", self.name)
            if self._on_error is not None:
                self._on_error(self.name, error)
        else:
            self._served = True
            self._ready.set()


class Services:
    """Several services as one. The order given is the order of starting; they stop in reverse."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = tuple(services)
        self._started: list[Service] = []

    async def start(self) -> None:
        """Starts one after the other; when one can't, stops those before it and raises its error."""
        try:
            for service in self._services:
                self._started.append(service)
                await service.start()
        except BaseException:
            await self.stop()
            raise

    async def ready(self) -> None:
        for service in self._services:
            await service.ready()

    async def stop(self) -> None:
        """Stops all, even when some raise; raises what they raised as one ExceptionGroup."""
        errors: list[Exception] = []
        while self._started:
            try:
                await self._started.pop().stop()
            except Exception as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup("services did not stop cleanly", errors)
