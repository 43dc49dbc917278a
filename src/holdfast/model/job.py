"""Jobs: states with the table of allowed moves, priorities, and rows as the store keeps them.

A job is `available` when a slot may take it, `scheduled` until its time, `running` while an attempt of it
stands in a start record, `retrying` between a failed attempt and the next. The other three are terminal.
Which state a stored live job is in follows from its columns; nothing else keeps it:

    running    an attempt of it, number = attempt + 1, stands in a start record
    retrying   due_at > now and attempt > 0
    scheduled  due_at > now and attempt = 0
    available  otherwise
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import msgspec

Priority = Literal["critical", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
PRIORITY_RANK: dict[Priority, int] = {name: rank for rank, name in enumerate(PRIORITIES)}
PRIORITY_SHARES = (4, 3, 2, 1)
CRITICAL = PRIORITY_RANK["critical"]


class JobState(enum.StrEnum):
    SCHEDULED = "scheduled"
    AVAILABLE = "available"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DEAD = "dead"


TERMINAL = frozenset({JobState.COMPLETED, JobState.CANCELLED, JobState.DEAD})

MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.SCHEDULED: frozenset({JobState.AVAILABLE, JobState.CANCELLED}),
    JobState.AVAILABLE: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.COMPLETED, JobState.RETRYING, JobState.AVAILABLE, JobState.CANCELLED, JobState.DEAD}
    ),
    JobState.RETRYING: frozenset({JobState.AVAILABLE, JobState.CANCELLED}),
    JobState.COMPLETED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.DEAD: frozenset(),
}
"""`running -> available` is an attempt given back: its executor was drained or reaped."""


CRASHED = "RunnerUnavailable: the runner died while an attempt ran"
"""The `last_error` of a job whose attempt was under way when its executor was reaped; `crashes` counts it."""


class JobRow(NamedTuple):
    """A live job. Guarded where it has a key: no other live job of its type and group (None is one group) holds it, and
    no finished one either, unless this is a replay: whoever looked the key up may have missed a job that was stored
    after that, and has ended by now.

    `due_at` is 0 for a job that may start at once. `attempt` counts the attempts that ended; `eligible_at` is when
    it last became able to start. `payload_hash` is empty for a job without a key.
    """

    id: int
    shard: int
    job_type: str
    priority: int
    payload: bytes
    payload_hash: bytes
    key: str | None
    group: str | None
    max_attempts: int
    timeout_us: int
    due_at: int
    eligible_at: int
    attempt: int
    crashes: int
    last_error: str | None
    created_at: int
    admitted_by: int
    replay_of: int | None
    headers: bytes | None


class StartRecord(NamedTuple):
    """Attempts that were about to start on one executor: `attempts` is `pack_attempts` of (job id, number) pairs.

    One record covers a batch across shards, as long as `owner` owns all of them: a record per shard would write as
    many records as jobs. Whoever takes a shard over finds its jobs in the records by their ids. A pair counts only
    while its job is live with `attempt = number - 1`; so an attempt that ended need not be taken out of its record,
    unless the job runs on under the same number (given back) or somebody else writes the end.

    A record stands as long as its executor: the reaper takes them away, and in the same transaction counts a crash for
    each job whose attempt stood there. A message that was there in an earlier death runs under a record of its own, as
    (message id, its crashes).
    """

    id: int
    owner: int
    executor: int
    attempts: bytes
    started_at: int


def pack_attempts(attempts: Sequence[tuple[int, int]]) -> bytes:
    """(job id, attempt number) pairs as JSON text, which a store's own SQL can read too."""
    return msgspec.json.encode(attempts)


def unpack_attempts(packed: bytes) -> list[tuple[int, int]]:
    """What `pack_attempts` made. Raises msgspec.ValidationError for anything else."""
    return _attempts.decode(packed)


_attempts = msgspec.json.Decoder(list[tuple[int, int]])


class GroupPlace(NamedTuple):
    """A live job of a group that has been started before, so those behind it have to wait for its end."""

    job: int
    shard: int
    job_type: str
    group: str


class EndStart(NamedTuple):
    """Deletes a start record whose attempts have all ended; no guard, it may be gone."""

    id: int


class JobRetry(NamedTuple):
    """An attempt that ended without ending the job. Guarded: the stored job must have `attempt - 1` or, for an
    attempt given back, `attempt`, which `expected` says."""

    attempt: int
    crashes: int
    due_at: int
    eligible_at: int
    last_error: str | None
    id: int
    expected: int


class JobEnd(NamedTuple):
    """A job's end: the live row `id` with `expected` ended attempts is deleted, and this row kept in the archive.

    `state` is a terminal JobState; `payload` is kept for dead jobs only, so that they can be replayed.
    """

    id: int
    expected: int
    state: str
    result: bytes | None
    error: str | None
    reason: str | None
    attempts: int
    finished_at: int
    finished_by: int


class ArchivedJob(NamedTuple):
    """A finished job as the archive keeps it for the retention time.

    In a unit it is a job that was never live: one that had to end where it was admitted.
    """

    id: int
    shard: int
    job_type: str
    priority: int
    payload: bytes
    payload_hash: bytes
    key: str | None
    group: str | None
    max_attempts: int
    timeout_us: int
    state: str
    result: bytes | None
    error: str | None
    reason: str | None
    attempts: int
    created_at: int
    finished_at: int
    admitted_by: int
    finished_by: int
    replay_of: int | None
    replayed_at: int | None
    discarded_at: int | None


class FreshJob(NamedTuple):
    """Writes nothing (guard: no finished job has this id), beside the row of a job whose id was chosen elsewhere.

    A submit that was on its way for long may arrive when it has been tried again, by another way, and has run.
    """

    id: int


class JobReplay(NamedTuple):
    """Marks a dead job replayed (guard: neither replayed nor discarded) beside the new job's row."""

    replayed_at: int
    id: int


class JobDiscard(NamedTuple):
    """Marks a dead job discarded (guard: neither replayed nor discarded)."""

    discarded_at: int
    id: int
