"""A sender's place: the tries of its operations, and what it writes down of them."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from holdfast.entities.entity import Entity
from holdfast.errors import AlreadyCancelled, HoldfastError, MessageError
from holdfast.runtime.app import App

from .history import Event, Outcome, Recorder, now

E = TypeVar("E", bound=Entity[Any])

TRY_S = 5.0
"""Seconds that one try of an operation may take."""
PAUSE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One sender's."""

    app: App
    name: str
    rng: random.Random
    recorder: Recorder
    stopping: asyncio.Event
    pause_s: float
    """Seconds between two operations, about."""
    numbers: itertools.count[int]
    rest_s: float
    """Seconds that an operation which was begun is tried again when it is time to stop."""

    def operation(self) -> str:
        """A new one's id: its sender and a number."""
        return f"{self.name}-{next(self.numbers)}"

    def ref(self, entity: type[E], entity_id: str) -> E:
        return self.app.ref(entity, entity_id)

    async def breathe(self, operations: int = 1) -> None:
        """As long as so many of them have to last."""
        await asyncio.sleep(operations * self.pause_s * self.rng.uniform(0.5, 1.5))

    async def repeat(self, body: Callable[[Desk], Awaitable[None]]) -> None:
        """Until it is time to stop."""
        while not self.stopping.is_set():
            await body(self)
            await self.breathe()

    async def once(
        self,
        workload: str,
        key: str,
        verb: str,
        call: Callable[[], Awaitable[object]],
        operation: str = "",
        with_value: Any = None,
    ) -> Event:
        """One try, noted, whatever becomes of it. `with_value` is noted beside the value."""
        operation = operation or self.operation()
        called = self._begin(workload, key, verb, operation, with_value)
        outcome, value = await attempt(call)
        return self._note(workload, key, verb, operation, called, outcome, value, with_value, 1)

    async def until_done(
        self,
        workload: str,
        key: str,
        verb: str,
        call: Callable[[], Awaitable[object]],
        operation: str,
        with_value: Any = None,
    ) -> Event:
        """Tries again under the same key until it is acknowledged, or it is time to stop and it seems not to be."""
        called, tries, over_at = self._begin(workload, key, verb, operation, with_value), 0, math.inf
        while True:
            tries += 1
            outcome, value = await attempt(call)
            if self.stopping.is_set():
                over_at = min(over_at, now() + self.rest_s)
            if outcome == "ok" or now() >= over_at:
                return self._note(workload, key, verb, operation, called, outcome, value, with_value, tries)
            await asyncio.sleep(PAUSE_S)

    def _begin(self, workload: str, key: str, verb: str, operation: str, with_value: Any) -> float:
        """Noted before the call, for the case that this process does not live to see its end."""
        called = now()
        value = None if with_value is None else [with_value, None]
        self.recorder.add(Event(workload, key, self.name, operation, verb, called, called, "begun", value))
        return called

    def _note(
        self,
        workload: str,
        key: str,
        verb: str,
        operation: str,
        called: float,
        outcome: Outcome,
        value: Any,
        with_value: Any,
        tries: int,
    ) -> Event:
        kept = value if with_value is None else [with_value, value]
        event = Event(workload, key, self.name, operation, verb, called, now(), outcome, kept, tries)
        self.recorder.add(event)
        return event


async def attempt(call: Callable[[], Awaitable[Any]]) -> tuple[Outcome, Any]:
    """The outcome of one try, and its value or the error's name."""
    try:
        return "ok", await call()
    except MessageError as error:
        return ("no" if error.executed == "no" else "unknown"), type(error).__name__
    except AlreadyCancelled as error:  # the job had ended: the answer to a cancel that came too late
        return "no", type(error).__name__
    except (HoldfastError, TimeoutError) as error:
        return "unknown", type(error).__name__
