"""The door: how submits and requests about jobs leave the code that makes them, whoever carries them out.

On a runner the engine is the door, in a client the connection to one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from holdfast.errors import JobCancelled, JobDead
from holdfast.model.ids import JobId
from holdfast.model.job import JobState, Priority
from holdfast.model.signature import ValueCodec

from .call import JobCall
from .handle import JobHandle

R = TypeVar("R")
T = TypeVar("T")


class CancelOutcome(enum.StrEnum):
    """What a cancel did."""

    BEFORE_START = "cancelled"
    """It never started."""
    INTERRUPTED = "interrupted"
    """It was running and was stopped."""
    REQUESTED = "requested"
    """It was told to stop and has not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job as it is now. Moments are microseconds since the epoch; `progress` is what its handler last said."""

    id: JobId
    job_type: str
    priority: Priority
    state: JobState
    attempts: int
    """Attempts that ended, and the running one."""
    created_at: int
    due_at: int | None
    finished_at: int | None
    error: str | None
    reason: str | None
    progress: float | None
    progress_text: str | None
    replay_of: JobId | None


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """How a job ended; `result` is encoded, None for a job that returned None or did not complete."""

    id: JobId
    job_type: str
    state: JobState
    result: bytes | None
    error: str | None
    reason: str | None

    def unwrap(self, codec: ValueCodec | None) -> Any:
        """What the job returned; without a codec as plain values.

        Raises JobCancelled, JobDead, and SerializationError for a result of another type.
        """
        if self.state is JobState.CANCELLED:
            raise JobCancelled(f"job {self.id} ({self.job_type}) was cancelled")
        if self.state is JobState.DEAD:
            raise JobDead(f"job {self.id} ({self.job_type}) is dead, {self.reason}: {self.error}")
        if self.result is None:
            return None
        return msgspec.msgpack.decode(self.result) if codec is None else codec.decode(self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead job that waits to be replayed or discarded. `arguments` is None where they no longer decode."""

    id: JobId
    job_type: str
    priority: Priority
    reason: str
    error: str
    attempts: int
    arguments: dict[str, object] | None
    created_at: int
    died_at: int
    replay_of: JobId | None


class JobDoor(Protocol):
    """Requests about jobs. A job id that is unknown raises JobNotFound."""

    def submit(self, call: JobCall[R], /) -> Coroutine[Any, Any, JobHandle[R]]:
        """Returns once the job is on disk; inside a handler it commits with the handler.

        Raises JobInvalid, JobKeyConflict and PersistenceError.
        """
        ...

    def submit_many(self, calls: Sequence[JobCall[R]], /) -> Coroutine[Any, Any, list[JobHandle[R]]]:
        """The same for many, in bounded chunks that each commit as a whole."""
        ...

    def status(self, job: JobId, /) -> Coroutine[Any, Any, JobStatus]: ...

    def wait(self, job: JobId, /, *, timeout: float | None = None) -> Coroutine[Any, Any, FinishedJob]:
        """Returns once the job is in a terminal state. Raises TimeoutError after `timeout` seconds."""
        ...

    def cancel(self, job: JobId, /) -> Coroutine[Any, Any, CancelOutcome]:
        """Raises AlreadyCancelled for a job in a terminal state: too late.

        RunnerUnavailable for one that waits in the inbox, and whose owner does not take it in time.
        """
        ...

    def replay(self, job: JobId, /) -> Coroutine[Any, Any, JobHandle[Any]]:
        """Submits a dead job again, once. Raises AlreadyCancelled for one that is not (or no longer) a dead letter."""
        ...

    def discard(self, job: JobId, /) -> Coroutine[Any, Any, None]:
        """Gives a dead job up. Raises AlreadyCancelled for one that is not (or no longer) a dead letter."""
        ...

    def dead_letters(
        self, *, limit: int = 100, after: JobId | None = None, job_type: str | None = None
    ) -> Coroutine[Any, Any, list[DeadLetter]]:
        """Dead letters by ascending id above `after`."""
        ...


class SideDoor(Protocol):
    """How a submit leaves through the caller's own connection, `call.rules.tx`, with or without an open node."""

    def submit(self, call: JobCall[R], /) -> Coroutine[Any, Any, JobHandle[R]]:
        """The job is there if and when the connection's transaction commits.

        Raises UsageError for what is no connection, StoreUnavailable for one to a database without the store,
        JobInvalid, and the driver's own errors.
        """
        ...

    def submit_blocking(self, call: JobCall[R], /) -> JobHandle[R]:
        """The same in the thread that calls, for a driver that blocks."""
        ...


class BlockingDoor(Protocol):
    """Runs a coroutine for a thread that has no event loop."""

    def __call__(self, make: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Raises BlockingCallOnLoop on a thread that runs an event loop."""
        ...
