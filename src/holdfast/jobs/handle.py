"""What a submit returns: the job's id, and a way to wait for its result."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Generic, Protocol, TypeVar, cast

from holdfast.model.ids import JobId, job_id
from holdfast.model.signature import ValueCodec

R_co = TypeVar("R_co", covariant=True)


class Finished(Protocol):
    def unwrap(self, codec: ValueCodec | None) -> Any: ...


class Waiting(Protocol):
    """The part of the door that a handle needs."""

    def wait(self, job: JobId, /, *, timeout: float | None = None) -> Coroutine[Any, Any, Finished]: ...


class JobHandle(Generic[R_co]):
    """A submitted job. Duplicates of one key share the job, so their handles have the same id.

    `duplicate` is None where only the owner can tell (the job waits in the inbox).
    """

    __slots__ = ("_codec", "_door", "_number", "duplicate")

    def __init__(self, number: int, duplicate: bool | None, door: Waiting, codec: ValueCodec | None) -> None:
        self._number = number
        self.duplicate = duplicate
        self._door = door
        self._codec = codec

    @property
    def id(self) -> JobId:
        return job_id(self._number)

    async def result(self, *, timeout: float | None = None) -> R_co:
        """What the job returned, waited for if need be.

        Raises JobDead, JobCancelled, and TimeoutError after `timeout` seconds (the job itself goes on).
        """
        finished = await self._door.wait(self.id, timeout=timeout)
        return cast("R_co", finished.unwrap(self._codec))

    def __repr__(self) -> str:
        return f"<job {self._number}{' (duplicate)' if self.duplicate else ''}>"
