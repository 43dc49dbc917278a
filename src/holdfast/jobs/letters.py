"""Dead letters: jobs that used up their tries, until somebody replays or discards them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from holdfast.errors import (
    AlreadyCancelled,
    Conflict,
    EntityNotAssignedToRunner,
    HoldfastError,
    JobKeyConflict,
    MalformedMessage,
)
from holdfast.model.ids import JobId, job_id
from holdfast.model.job import PRIORITIES, ArchivedJob, JobDiscard, JobReplay, JobRow, JobState
from holdfast.model.unit import Unit

from .door import DeadLetter, JobDoor
from .handle import JobHandle
from .holdings import Holdings
from .job_type import JobType
from .lookup import archived_job, job_number
from .surroundings import Surroundings
from .tally import Tallies
from .units import commit_then

LETTERS_MAX = 1000


class Letters:
    """The dead letters of the shards that are served here; anybody may read them all."""

    def __init__(
        self,
        around: Surroundings,
        *,
        door: JobDoor,
        types: Mapping[str, JobType],
        tallies: Tallies,
        holdings: Holdings,
        arrived: Callable[[JobRow], None],
    ) -> None:
        """`arrived` takes the row of the new job that a replay makes."""
        self._door = door
        self._types = types
        self._commits = around.commits
        self._reader = around.reader
        self._ids = around.ids
        self._clock = around.clock
        self._metrics = around.metrics
        self._runner_id = around.runner_id
        self._tallies = tallies
        self._holdings = holdings
        self._arrived = arrived

    async def replay(self, job: JobId, number: int = 0) -> JobHandle[Any]:
        began = self._clock.monotonic()
        labels: dict[str, str] = {"job_type": ""}
        try:
            dead = await archived_job(self._reader, job_number(job))
            labels = {"job_type": dead.job_type, "priority": PRIORITIES[dead.priority]}
            row = self._replay_row(dead, number or await self._ids.take())
            unit = Unit()
            unit.add(JobReplay(row.created_at, dead.id))
            unit.add(row, len(row.payload))
            await self._commit_letter(dead, unit, "replayed", partial(self._replayed, row, began))
        except EntityNotAssignedToRunner:
            raise  # its owner counts
        except HoldfastError as error:
            self._metrics.jobs.meter(operation="replay", **labels).failed(self._clock.monotonic() - began, error)
            raise
        declared = self._types.get(row.job_type)
        return JobHandle(row.id, False, self._door, None if declared is None else declared.signature.result)

    def _replayed(self, row: JobRow, began: float) -> None:
        self._tallies.of(row.job_type, row.priority).replayed(self._clock.monotonic() - began)
        self._tallies.dealt_with(row.job_type)
        self._arrived(row)

    async def discard(self, job: JobId) -> None:
        dead = await archived_job(self._reader, job_number(job))
        unit = Unit()
        unit.add(JobDiscard(self._clock.now_us(), dead.id))
        await self._commit_letter(dead, unit, "discarded", partial(self._discarded, dead))

    def _discarded(self, dead: ArchivedJob) -> None:
        self._metrics.jobs.discarded.labels(job_type=dead.job_type).inc()
        self._tallies.dealt_with(dead.job_type)

    async def dead_letters(self, *, limit: int, after: JobId | None, job_type: str | None) -> list[DeadLetter]:
        after_number = 0 if after is None else job_number(after)
        rows = await self._reader.dead(after=after_number, limit=max(1, min(limit, LETTERS_MAX)), job_type=job_type)
        return [self._letter(row) for row in rows]

    async def _commit_letter(self, dead: ArchivedJob, unit: Unit, verb: str, committed: Callable[[], None]) -> None:
        """Raises AlreadyCancelled for what is no dead letter (any more), JobKeyConflict, and PersistenceError."""
        _check_letter(dead, verb)
        self._holdings.check(dead.shard)
        try:
            await commit_then(self._commits, unit, committed)
        except Conflict as error:
            _check_letter(await archived_job(self._reader, dead.id), verb)
            raise JobKeyConflict(f"another live job holds the key {dead.key!r} of job {dead.id}") from error

    def _replay_row(self, dead: ArchivedJob, number: int) -> JobRow:
        now_us = self._clock.now_us()
        return JobRow(
            number,
            dead.shard,
            dead.job_type,
            dead.priority,
            dead.payload,
            dead.payload_hash,
            dead.key,
            dead.group,
            dead.max_attempts,
            dead.timeout_us,
            0,
            now_us,
            0,
            0,
            None,
            now_us,
            self._runner_id,
            dead.id,
            None,
        )

    def _letter(self, row: ArchivedJob) -> DeadLetter:
        return DeadLetter(
            id=job_id(row.id),
            job_type=row.job_type,
            priority=PRIORITIES[row.priority],
            reason=row.reason or "",
            error=row.error or "",
            attempts=row.attempts,
            arguments=self._arguments(row),
            created_at=row.created_at,
            died_at=row.finished_at,
            replay_of=None if row.replay_of is None else job_id(row.replay_of),
        )

    def _arguments(self, row: ArchivedJob) -> dict[str, object] | None:
        declared = self._types.get(row.job_type)
        if declared is None:
            return None
        try:
            values = declared.signature.decode(row.payload)
        except MalformedMessage:
            return None
        return dict(zip(declared.signature.parameters, values, strict=True))


def _check_letter(dead: ArchivedJob, verb: str) -> None:
    if dead.state != JobState.DEAD:
        raise AlreadyCancelled(f"job {dead.id} is {dead.state}: only a dead job can be {verb}")
    if dead.replayed_at is not None or dead.discarded_at is not None:
        done = "replayed" if dead.replayed_at is not None else "discarded"
        raise AlreadyCancelled(f"job {dead.id} was {done} before")
