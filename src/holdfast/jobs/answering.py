"""Requests about jobs as a runner answers them: by itself alone, or for its own code, whoever the owner is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from holdfast.errors import EntityNotAssignedToRunner
from holdfast.kit.clock import Clock
from holdfast.model.ids import JobId

from .door import CancelOutcome, FinishedJob, JobDoor, JobStatus
from .handle import JobHandle
from .letters import Letters
from .requests import Requests

T = TypeVar("T")


class Here:
    """Answers only for what is served here: a live job of another shard raises EntityNotAssignedToRunner."""

    def __init__(self, requests: Requests, letters: Letters) -> None:
        self.status = requests.status
        self.wait = requests.wait
        self.cancel = requests.cancel
        self.replay = letters.replay
        self.discard = letters.discard
        self.dead_letters = letters.dead_letters


class Onward:
    """Requests about a job, answered here or at `elsewhere`."""

    def __init__(self, here: Here, elsewhere: JobDoor | None, clock: Clock) -> None:
        self._here = here
        self._elsewhere = elsewhere
        self._clock = clock

    async def status(self, job: JobId) -> JobStatus:
        return await self._ask(self._here.status(job), lambda door: door.status(job))

    async def wait(self, job: JobId, timeout: float | None) -> FinishedJob:
        began = self._clock.monotonic()

        def left() -> float | None:
            return None if timeout is None else max(0.0, timeout - (self._clock.monotonic() - began))

        return await self._ask(self._here.wait(job, timeout=timeout), lambda door: door.wait(job, timeout=left()))

    async def cancel(self, job: JobId) -> CancelOutcome:
        return await self._ask(self._here.cancel(job), lambda door: door.cancel(job))

    async def replay(self, job: JobId) -> JobHandle[Any]:
        return await self._ask(self._here.replay(job), lambda door: door.replay(job))

    async def discard(self, job: JobId) -> None:
        await self._ask(self._here.discard(job), lambda door: door.discard(job))

    async def _ask(self, here: Coroutine[Any, Any, T], there: Callable[[JobDoor], Coroutine[Any, Any, T]]) -> T:
        try:
            return await here
        except EntityNotAssignedToRunner:
            if self._elsewhere is None:
                raise
            return await there(self._elsewhere)
