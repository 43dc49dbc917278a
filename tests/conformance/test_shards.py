"""Reads of some shards: the same rows in the same order as of all, without those of the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from holdfast.errors import Conflict
from holdfast.model.inbox import AttemptEnd, InboxKind, decode_entry, encode_entry
from holdfast.model.job import ArchivedJob, JobReplay
from holdfast.model.ledger import DeadJobs, LiveJobs
from holdfast.model.message import InboxRow, Take
from holdfast.ports.store import RunnerStore

from .conftest import commit
from .rows import END, JOB, MESSAGE, start

ARCHIVED = ArchivedJob(
    id=7, shard=3, job_type="send_receipt", priority=2, payload=b"payload", payload_hash=b"hash", key=None, group=None,
    max_attempts=5, timeout_us=30_000_000, state="dead", result=None, error="taken", reason="Validation", attempts=0,
    created_at=1_000, finished_at=2_000, admitted_by=1, finished_by=1, replay_of=None, replayed_at=None,
    discarded_at=None,
)  # fmt: skip


def ids(rows: Sequence[object]) -> list[int]:
    return [row.id for row in rows]  # type: ignore[attr-defined]


async def test_stored_messages_of_some_shards(store: RunnerStore) -> None:
    rows = [MESSAGE._replace(id=number, shard=number % 3, due_at=100 * (number % 2)) for number in range(1, 10)]
    await commit(store, tuple(rows))
    pending = store.messages.pending
    assert ids(await pending(after=0, limit=9, due_before=100, shards=[0, 2])) == [2, 3, 5, 6, 8, 9]
    assert ids(await pending(after=3, limit=2, due_before=100, shards={0, 2})) == [5, 6]
    assert ids(await pending(after=0, limit=9, due_before=99, shards=range(2))) == [4, 6]
    assert await pending(after=0, limit=9, due_before=100, shards=[]) == []
    assert ids(await store.messages.upcoming(due_after=0, limit=2, shards=[0, 1])) == [1, 3]
    assert ids(await store.messages.upcoming(due_after=99, limit=9, shards=(2,))) == [5]
    assert await store.messages.upcoming(due_after=100, limit=9, shards=[0, 1, 2]) == []


async def test_delayed_jobs_of_some_shards(store: RunnerStore) -> None:
    rows = [JOB._replace(id=number, shard=number % 3, due_at=100 * (10 - number)) for number in range(1, 10)]
    await commit(store, tuple(rows))
    upcoming = store.jobs.upcoming
    assert ids(await upcoming(due_after=0, id_after=0, limit=3, shards=[0, 1])) == [9, 7, 6]
    assert ids(await upcoming(due_after=300, id_after=7, limit=9, shards=[0, 1])) == [6, 4, 3, 1]
    assert await upcoming(due_after=0, id_after=0, limit=9, shards=[]) == []


async def test_start_records_that_speak_of_jobs_of_some_shards(store: RunnerStore) -> None:
    await commit(store, tuple(JOB._replace(id=number, shard=number % 2) for number in range(1, 5)))
    await commit(store, (start(10, (1, 1), (2, 1)), start(11, (3, 1), (99, 1)), start(12, (99, 1))))
    assert ids(await store.jobs.starts(shards=[0])) == [10]
    assert ids(await store.jobs.starts(shards=[1])) == [10, 11]
    assert ids(await store.jobs.starts()) == [10, 11, 12]


async def test_jobs_are_counted_by_shard(store: RunnerStore) -> None:
    due = [0, 0, 100, 200, 300]
    await commit(store, tuple(JOB._replace(id=n, shard=n % 2, due_at=due[n - 1]) for n in range(1, 6)))
    assert await store.jobs.live_counts(due_before=100, shards=[1]) == [LiveJobs(1, "send_receipt", 2, 2, 1)]
    assert await store.jobs.live_counts(due_before=100, shards=[0]) == [LiveJobs(0, "send_receipt", 2, 1, 1)]
    ends = [END._replace(id=n, state="dead", finished_at=10 * n) for n in range(2, 6)]
    await commit(store, tuple(ends))
    assert await store.jobs.dead_counts(shards=[1]) == [DeadJobs("send_receipt", 2, 30)]
    assert await store.jobs.dead_counts(shards=[]) == []


async def test_inbox_rows_of_some_shards(store: RunnerStore) -> None:
    await store.inbox.leave([(number, number % 3, InboxKind.JOB, b"job") for number in (8, 2, 7, 4, 3)])
    assert ids(await store.inbox_reader.inbox(limit=9, shards=[1, 2])) == [2, 4, 7, 8]
    assert ids(await store.inbox_reader.inbox(limit=2, shards=[1, 2])) == [2, 4]
    assert await store.inbox_reader.inbox(limit=9, shards=[]) == []


async def test_a_job_that_ends_where_it_is_admitted_leaves_the_inbox_in_the_same_unit(store: RunnerStore) -> None:
    await commit(store, (InboxRow(5, 3, InboxKind.JOB, b"job", 1_000),))
    await commit(store, (Take(5), ARCHIVED))
    assert await store.jobs.archived(7) == ARCHIVED
    assert await store.inbox_reader.inbox(limit=9) == [] and await store.jobs.live(7) is None
    with pytest.raises(Conflict):
        await commit(store, (ARCHIVED,))
    await commit(store, (JobReplay(50, 7), JOB._replace(id=8, replay_of=7)))
    assert await store.jobs.archived(7) == ARCHIVED._replace(replayed_at=50)


def test_an_attempts_end_comes_out_of_the_inbox_as_it_went_in() -> None:
    end = AttemptEnd(7, 2, 3, "retry", error="OSError: gone", reason="Processing", delay_us=5_000_000, finished_at=9)
    kind, body = encode_entry(end)
    assert kind is InboxKind.ATTEMPT_END and decode_entry(kind, body) == end
