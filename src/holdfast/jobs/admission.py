"""Submits: from a call to a stored job.

A submit is acknowledged once its row is on disk. One with a key is first looked up: the first job of a key answers for
all later ones, running or finished, as long as the archive keeps it; the same key with another payload is a conflict.
Two submits of one key at the same time are told apart here, and in the last resort by the store's guard.

A submit of another process comes under an id that was chosen there. It may come twice and by two ways, directly and by
the inbox, and the first one last: so one at a time is stored under an id, and never one that has ended.

Inside a handler the row is staged in the handler's turn and commits with it; a job that was never committed is never
seen by anybody.

A job goes to the owner of its shard. One without a key and a group may live anywhere, so it gets an id whose shard is
served here; any other that is not served here goes on to `elsewhere`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, TypeVar

from holdfast.errors import (
    Conflict,
    EntityNotAssignedToRunner,
    HoldfastError,
    JobInvalid,
    JobKeyConflict,
    PersistenceError,
)
from holdfast.kit.hashing import payload_hash
from holdfast.model.ids import micros
from holdfast.model.job import FreshJob, JobRow
from holdfast.ports.turn import Turn, current_turn

from .call import JobCall
from .door import JobDoor
from .entrance import NO_PLACES, Entrance, Places
from .exclusive import Exclusive
from .handle import JobHandle
from .holdings import Holdings, moved
from .roster import Roster
from .straight import Start
from .submission import Submission
from .surroundings import Surroundings
from .tally import Tallies

R = TypeVar("R")

CHUNK_ROWS = 128
"""Jobs of one `submit_many` that commit together."""
TRIES_MAX = 5
"""Times a keyed submit looks again after another one was faster."""

KeyName = tuple[str, str | None, str]


class Known(NamedTuple):
    """The job that a key belongs to."""

    id: int
    payload_hash: bytes


class _KeysOfTurn(NamedTuple):
    turn: Turn
    keys: dict[KeyName, Known]


_staged_keys: ContextVar[_KeysOfTurn | None] = ContextVar("holdfast_staged_keys", default=None)


class Admission:
    """Takes submits in."""

    def __init__(
        self,
        around: Surroundings,
        *,
        door: JobDoor,
        held: Roster,
        tallies: Tallies,
        holdings: Holdings,
        arrived: Callable[[JobRow], None],
        found: Callable[[JobRow], None],
        begin: Callable[[JobRow], Start | None],
    ) -> None:
        """`arrived` takes each row once it is stored, `found` where the row may have been read from the store by then;
        `begin` may have one start with the commit that stores it. `door` is what handles wait at, and `held` are
        the jobs in memory."""
        self._door = door
        self._elsewhere = around.elsewhere
        self._left_in = around.left_in
        self._placement = around.placement
        self._holdings = holdings
        self._commits = around.commits
        self._reader = around.reader
        self._ids = around.ids
        self._clock = around.clock
        self._settings = around.settings
        self._default_timeout_us = micros(around.settings.timeout)
        self._tallies = tallies
        self._runner_id = around.runner_id
        self._arrived = arrived
        self._found = found
        self._begin = begin
        self._held = held
        self._entrance = Entrance()
        self.exclusive = Exclusive()

    async def submit(self, call: JobCall[R]) -> JobHandle[R]:
        """As `JobDoor.submit`."""
        began = self._clock.monotonic()
        tally = self._tallies.of(call.job_type, call.rules.priority)
        try:
            self._check(call)
            turn = current_turn.get()
            if turn is not None and not call.rules.detached:
                number, duplicate = await self._stage(call, turn)
            elif call.rules.group is None:
                number, duplicate = await self._submit(call, NO_PLACES, began)
            else:
                with self._entrance.come((call,)) as places:
                    number, duplicate = await self._submit(call, places, began)
        except EntityNotAssignedToRunner as error:
            if self._elsewhere is not None:
                return await self._elsewhere.submit(call)
            tally.submitted.failed(self._clock.monotonic() - began, error)
            raise
        except HoldfastError as error:
            tally.submitted.failed(self._clock.monotonic() - began, error)
            raise
        if duplicate:
            tally.deduplicated()
            tally.submitted.succeeded(self._clock.monotonic() - began, 0)
        return JobHandle(number, duplicate, self._door, call.result)

    async def _submit(self, call: JobCall[Any], places: Places, began: float) -> tuple[int, bool]:
        """Raises EntityNotAssignedToRunner for a job that does not belong here, or not yet; its turn to go on has come.

        What is left in the inbox while the shard was away keeps its place in the group before this one.
        """
        try:
            number = await self._id_of_ours(call)
            if places and self._left_in(shard := self._shard(call, number)):
                raise moved(shard)
            if call.rules.key is not None:
                return await self._submit_keyed(call, call.rules.key, number, places, began)
            if places:
                await places.first()
            await self._store((self._row(call, number, None),), places, began)
        except EntityNotAssignedToRunner:
            await places.first()
            raise
        return number, False

    async def _id_of_ours(self, call: JobCall[Any]) -> int:
        """An id with which the job belongs to a shard that is served here. Raises EntityNotAssignedToRunner."""
        number = await self._ids.take()
        if self._is_ours(call, number):
            return number
        if call.rules.key is None and call.rules.group is None:
            for _ in range(self._placement.range_of(call.job_type).count):
                number = await self._ids.take()  # ids in a row go round all shards
                if self._is_ours(call, number):
                    return number
        raise moved(self._shard(call, number))

    def shards_of(self, calls: Sequence[tuple[JobCall[Any], int]]) -> set[int]:
        """Where these jobs belong."""
        return {self._shard(call, number) for call, number in calls}

    def _is_ours(self, call: JobCall[Any], number: int) -> bool:
        return self._holdings.serves(self._shard(call, number))

    def _shard(self, call: JobCall[Any], number: int) -> int:
        return self._placement.of_job(number, call.job_type, call.rules.key, call.rules.group)

    async def submit_many(self, calls: Sequence[JobCall[R]]) -> list[JobHandle[R]]:
        """As `JobDoor.submit_many`."""
        for call in calls:
            self._check(call)
        handles: list[JobHandle[R]] = []
        plain: list[JobCall[R]] = []
        for call in calls:
            staged = current_turn.get() is not None and not call.rules.detached
            alone = staged or call.rules.key is not None or call.rules.group is not None
            if plain and (alone or len(plain) == CHUNK_ROWS):
                handles += await self._submit_chunk(plain)
                plain = []
            if alone:
                handles.append(await self.submit(call))
            else:
                plain.append(call)
        return handles + (await self._submit_chunk(plain) if plain else [])

    async def admit(self, calls: Sequence[tuple[JobCall[Any], int]], *, retry: bool) -> list[tuple[int, bool]]:
        """Submits from another process: each with the id that its submitter chose, and keeps when it tries again.

        Returns each job's id, of a duplicate the first one's, and whether it is one. Several commit as a whole and
        have no keys. Raises as `submit`, EntityNotAssignedToRunner where one of them belongs to another runner, and
        JobInvalid for several with a key.
        """
        for call, number in calls:
            self._check(call)
            self._holdings.check(self._shard(call, number))
        with self._entrance.come(call for call, _ in calls) as places:
            if retry and calls and await self._is_stored(calls[0][1]):
                return [(number, False) for _, number in calls]
            if len(calls) == 1 and (key := calls[0][0].rules.key) is not None:
                return [await self._admit_keyed(calls[0][0], key, calls[0][1], places)]
            if any(call.rules.key is not None for call, _ in calls):
                raise JobInvalid("jobs with a key are submitted one by one")
            await self._admit_fresh(calls, places)
        return [(number, False) for _, number in calls]

    async def _admit_fresh(self, calls: Sequence[tuple[JobCall[Any], int]], places: Places) -> None:
        began, numbers = self._clock.monotonic(), [number for _, number in calls]
        await places.first()
        async with self.exclusive.of(numbers):
            if not any(number in self._held for number in numbers):  # by another way, and its end may be on its way
                try:
                    rows = [self._row(call, number, None) for call, number in calls]
                    await self._store(rows, places, began, [FreshJob(number) for number in numbers])
                except Conflict:
                    if not await self._is_stored(numbers[0]):
                        raise

    async def _admit_keyed(self, call: JobCall[Any], key: str, number: int, places: Places) -> tuple[int, bool]:
        began, tally = self._clock.monotonic(), self._tallies.of(call.job_type, call.rules.priority)
        try:
            job, known = await self._submit_keyed(call, key, number, places, began)
        except HoldfastError as error:
            tally.submitted.failed(self._clock.monotonic() - began, error)
            raise
        if known:
            tally.submitted.succeeded(self._clock.monotonic() - began, 0)
        duplicate = job != number
        if duplicate:
            tally.deduplicated()
        return job, duplicate

    async def _is_stored(self, number: int) -> bool:
        return await self._reader.live(number) is not None or await self._reader.archived(number) is not None

    async def _submit_chunk(self, calls: Sequence[JobCall[R]]) -> list[JobHandle[R]]:
        began = self._clock.monotonic()
        try:
            rows = [self._row(call, await self._id_of_ours(call), None) for call in calls]
            await self._store(rows, NO_PLACES, began)
        except EntityNotAssignedToRunner:
            if self._elsewhere is None:
                raise
            return await self._elsewhere.submit_many(calls)
        return [JobHandle(row.id, False, self._door, call.result) for row, call in zip(rows, calls, strict=True)]

    def _store(
        self, rows: Sequence[JobRow], places: Places, began: float, fresh: Sequence[FreshJob] = ()
    ) -> asyncio.Future[None]:
        """Done once the rows are on disk. Raises EntityNotAssignedToRunner where a shard is not served any more.

        `places`: what the rows have in their groups, nobody in front. `fresh`: the guards of those whose ids were
        chosen elsewhere.
        """
        for row in rows:
            self._holdings.check(row.shard)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        start = self._begin(rows[0]) if len(rows) == 1 else None
        self._commits.add(Submission(rows, fresh, done, began, self._stored, start))
        places.leave()
        return done

    def _stored(self, rows: Sequence[JobRow], began: float, start: Start | None) -> None:
        """Counted by the commit and not by the submitter, who may have been cancelled meanwhile."""
        seconds = self._clock.monotonic() - began
        if len(rows) == 1:
            self._tallies.of(rows[0].job_type, rows[0].priority).submitted.succeeded(seconds)
        else:
            for (job_type, priority), count in Counter((row.job_type, row.priority) for row in rows).items():
                self._tallies.of(job_type, priority).submitted.succeeded(seconds, count)
        if start is not None:
            start.stored()
            return
        for row in rows:
            self._arrived(row)

    async def _submit_keyed(
        self, call: JobCall[Any], key: str, number: int, places: Places, began: float
    ) -> tuple[int, bool]:
        """In a group nobody claims a key: he would have it while he waits for somebody in front of him who wants it."""
        name, digest = (call.job_type, call.rules.group, key), payload_hash(call.payload)
        for _ in range(TRIES_MAX):
            async with nullcontext() if places else self.exclusive.of((name,)):
                known = await self.find(name)
                if known is not None:
                    return self._same(known, digest, name), True
                if places:
                    await places.first()
                with suppress(Conflict):  # another submit of this key was stored meanwhile: it will be found next time
                    await self._store((self._row(call, number, digest),), places, began)
                    return number, False
        raise PersistenceError(f"the key {key!r} of {call.job_type} stays contended; submit again")

    async def _stage(self, call: JobCall[Any], turn: Turn) -> tuple[int, bool]:
        """Puts the row into the handler's turn. A key is looked up, but only the store's guard decides at the end."""
        turn.check_open()
        digest: bytes | None = None
        keys = _staged_keys.get()
        if keys is None or keys.turn is not turn:
            keys = _KeysOfTurn(turn, {})
        name = (call.job_type, call.rules.group, call.rules.key or "")
        if call.rules.key is not None:
            digest = payload_hash(call.payload)
            known = _staged(turn, keys.keys.get(name)) or await self.find(name)
            if known is not None:
                return self._same(known, digest, name), True
        row = self._row(call, await self._id_to_stage(call), digest)
        turn.stage(row, len(call.payload))
        turn.after_commit(partial(self._staged_committed, turn, row, self._holdings.term(row.shard)))
        if digest is not None:
            keys.keys[name] = Known(row.id, digest)
            _staged_keys.set(keys)
        return row.id, False

    async def _id_to_stage(self, call: JobCall[Any]) -> int:
        """An id with which the job stays here, if it can; else it goes through the inbox of its shard."""
        try:
            return await self._id_of_ours(call)
        except EntityNotAssignedToRunner:
            return await self._ids.take()

    def _staged_committed(self, turn: Turn, row: JobRow, term: int) -> None:
        """It is counted here unless it was left in the inbox, and held here if its shard is."""
        if all(written is not row for written in turn.rows or ()):
            return
        self._tallies.of(row.job_type, row.priority).submitted.succeeded(0.0)
        if term and self._holdings.term(row.shard) == term:
            self._arrived(row)
        else:
            self._found(row)

    async def find(self, name: KeyName) -> Known | None:
        """The job that holds a key, running or finished."""
        live = await self._reader.live_by_key(*name)
        if live is not None:
            return Known(live.id, live.payload_hash)
        archived = await self._reader.archived_by_key(*name)
        return None if archived is None else Known(archived.id, archived.payload_hash)

    def _same(self, known: Known, digest: bytes, name: KeyName) -> int:
        if known.payload_hash != digest:
            raise JobKeyConflict(f"the key {name[2]!r} of {name[0]} belongs to job {known.id} with other arguments")
        return known.id

    def _check(self, call: JobCall[Any]) -> None:
        if len(call.payload) > self._settings.payload_bytes_max:
            raise JobInvalid(
                f"the arguments of {call.job_type} take {len(call.payload)} bytes, more than the "
                f"{self._settings.payload_bytes_max} of jobs.payload_bytes_max; store them elsewhere and pass a name"
            )

    def _row(self, call: JobCall[Any], job: int, digest: bytes | None) -> JobRow:
        rules, now_us = call.rules, self._clock.now_us()
        due_at = rules.at_us if rules.at_us > now_us else 0
        if rules.delay_us:
            due_at = now_us + rules.delay_us
        return JobRow(
            job,
            self._shard(call, job),
            call.job_type,
            rules.priority,
            call.payload,
            digest or b"",
            rules.key,
            rules.group,
            rules.max_attempts or self._settings.max_attempts,
            rules.timeout_us or self._default_timeout_us,
            due_at,
            due_at or now_us,
            0,
            0,
            None,
            now_us,
            self._runner_id,
            None,
            None,
        )


def _staged(turn: Turn, known: Known | None) -> Known | None:
    """The job, if this run of the handler has staged it: one whose commit failed runs again, as the same turn."""
    if known is None or not any(isinstance(row, JobRow) and row.id == known.id for row in turn.rows or ()):
        return None
    return known
