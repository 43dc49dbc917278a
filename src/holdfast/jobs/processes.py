"""Running attempts in child processes: handlers that use up a processor, or that may take their process with them.

A child runs one attempt at a time and is used again for the next. Its death charges the attempt that ran in it, which
has failed and is tried again by the rules; nobody else notices. A timeout, a cancel and a drain that has lasted long
enough kill the child: there is no other way to stop such a handler, and none is needed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, assert_never

import msgspec

from holdfast.errors import HandlerMissing, JobError, SerializationError

from .attempt import Attempt, Interruption
from .child_frames import Failure, Order, Progress, Result
from .execution import Ended, interruption_end
from .job_type import JobType
from .outcomes import AttemptEnd, Raised, Returned, Undecodable, Unencodable
from .surroundings import Surroundings
from .workers import Worker

GONE = (EOFError, ConnectionError, msgspec.ValidationError)
"""How a child that is gone, or that no longer makes sense, shows itself."""


class WorkerDied(JobError):
    """The process that ran the attempt died."""


class ProcessSlots:
    """The slots of handlers with a process of their own."""

    def __init__(
        self,
        around: Surroundings,
        *,
        ended: Ended,
        freed: Callable[[Attempt], None],
        start_task: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        """`ended` hears of every attempt once, `freed` each time its slot has nothing to run any more."""
        self._wheel = around.wheel
        self._clock = around.clock
        self._ended = ended
        self._freed = freed
        self._start_task = start_task
        self._result_bytes_max = around.settings.payload_bytes_max
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._runs: set[asyncio.Task[None]] = set()
        self._closing = False
        workers = around.metrics.workers
        self._active = workers.active.labels(pool="process")
        self._queued = workers.queue_depth.labels(pool="process")
        self._completions = workers.completions.labels(pool="process")
        self._crashes = workers.crashes.labels(pool="process")
        self._duration = workers.duration.labels(pool="process")
        self._timeouts = workers.timeouts.labels(pool="process")

    @property
    def pids(self) -> list[int]:
        """The processes that there are."""
        return [worker.pid for worker in self._workers]

    def run(self, attempt: Attempt) -> None:
        """Takes an attempt whose start record is on disk; there are never more than there are slots."""
        self._queued.inc()
        task = self._start_task(self._run(attempt), f"process of job {attempt.held.row.id}")
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def close(self) -> None:
        """Kills all children and returns when they are gone. An attempt that ran in one has no end."""
        self._closing = True
        for worker in self._workers:
            worker.kill()
        if self._runs:  # one of them may be starting a child just now
            await asyncio.wait(self._runs)
        await asyncio.gather(*(self._bury(worker) for worker in list(self._workers)))

    async def _run(self, attempt: Attempt) -> None:
        attempt.began = self._clock.monotonic()
        try:
            worker = await self._hired(attempt)
        finally:
            self._queued.dec()
        if worker is not None:
            await self._work(attempt, worker)
        if not self._closing:
            self._freed(attempt)

    async def _hired(self, attempt: Attempt) -> Worker | None:
        """A child for the attempt; None where the attempt is over without one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                break
            await self._bury(worker)
        else:
            try:
                worker = await Worker.spawn()
            except OSError as error:
                self._end(attempt, Raised(error))
                return None
            self._workers.add(worker)
        if self._closing:
            worker.kill()
            return None
        if attempt.why is None:
            return worker
        self._idle.append(worker)
        self._end(attempt, interruption_end(attempt))
        return None

    async def _work(self, attempt: Attempt, worker: Worker) -> None:
        attempt.stop = worker.kill
        timeout_s = attempt.held.row.timeout_us / 1e6
        deadline = self._wheel.after(timeout_s, partial(attempt.interrupt, Interruption.TIMEOUT))
        self._active.inc()
        try:
            await worker.order(self._order(attempt))
            end = await self._end_of(attempt, worker)
        except GONE:
            end = await self._died(attempt, worker)
        else:
            self._completions.inc()
            self._idle.append(worker)
        finally:
            deadline.cancel()
            attempt.stop = None
            self._active.dec()
            self._duration.observe(self._clock.monotonic() - attempt.began)
        if not self._closing:
            self._end(attempt, end)

    async def _end_of(self, attempt: Attempt, worker: Worker) -> AttemptEnd:
        while True:
            said = await worker.said()
            match said:
                case Progress(value, text):
                    attempt.progress = (value, text)
                case Result(result):
                    return Returned(result)
                case Failure():
                    return _failed(said)
                case _:
                    assert_never(said)

    async def _died(self, attempt: Attempt, worker: Worker) -> AttemptEnd:
        worker.kill()
        how = await self._bury(worker)
        if attempt.why is not None or self._closing:
            if attempt.why is Interruption.TIMEOUT:
                self._timeouts.inc()
            return interruption_end(attempt) if attempt.why is not None else Raised(WorkerDied(how))
        self._crashes.inc()
        return Raised(WorkerDied(f"the process of attempt {attempt.number} died: {how}"))

    async def _bury(self, worker: Worker) -> str:
        how = await worker.over()
        self._workers.discard(worker)
        return how

    def _end(self, attempt: Attempt, end: AttemptEnd) -> None:
        attempt.seconds = self._clock.monotonic() - attempt.began
        self._ended(attempt, end)

    def _order(self, attempt: Attempt) -> Order:
        declared, row = attempt.held.declared, attempt.held.row
        main_module, main_file = _main_of(declared)
        return Order(
            row.id,
            attempt.number,
            declared.name,
            declared.function.__module__,
            declared.function.__qualname__,
            row.payload,
            self._result_bytes_max,
            main_module,
            main_file,
        )


def _main_of(declared: JobType) -> tuple[str, str]:
    """What the program is that a handler of `__main__` belongs to: a module's name, or a file."""
    if declared.function.__module__ != "__main__":
        return "", ""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name), ""
    return "", str(getattr(main, "__file__", "") or "")


def _failed(said: Failure) -> AttemptEnd:
    error = _rebuilt(said)
    match said.stage:
        case "decode":
            return Undecodable(error)
        case "encode":
            return Unencodable(SerializationError(said.message))
        case "find":
            return Raised(HandlerMissing(said.message))
        case _:
            return Raised(error, said.given_up)


def _rebuilt(said: Failure) -> Exception:
    """An error with the name, text and reason of the one in the child; its class is not needed here."""
    kind = type(said.kind, (_ChildError,), {})
    error: _ChildError = kind(said.message)
    if said.reason != said.kind:
        error.reason = said.reason
    return error


class _ChildError(Exception):
    """An error that was raised in a child."""

    reason: str = ""
