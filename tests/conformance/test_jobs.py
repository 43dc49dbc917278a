"""Jobs: stored, read in windows, tried again, ended into the archive, replayed and discarded."""

from __future__ import annotations

import pytest

from holdfast.errors import Conflict
from holdfast.model.job import EndStart, FreshJob, JobDiscard, JobReplay
from holdfast.model.ledger import DeadJobs, LiveJobs
from holdfast.ports.store import RunnerStore

from .conftest import commit
from .rows import END, JOB, RETRY, start


async def ids_available(store: RunnerStore, *, after: int = 0, limit: int = 9, due_before: int = 0) -> list[int]:
    rows = await store.jobs.available(shard=3, priority=2, after=after, limit=limit, due_before=due_before)
    return [row.id for row in rows]


async def test_a_stored_job_comes_back_as_it_was(store: RunnerStore) -> None:
    whole = JOB._replace(
        id=7, key="k", group="g", due_at=5, attempt=1, crashes=1, last_error="boom", replay_of=3, headers=None
    )
    await commit(store, (whole,))
    assert await store.jobs.live(7) == whole
    assert await store.jobs.live(8) is None


async def test_a_window_holds_one_shard_and_priority_by_id(store: RunnerStore) -> None:
    mine = [JOB._replace(id=number) for number in (5, 1, 3)]
    await commit(store, (*mine, JOB._replace(id=2, shard=4), JOB._replace(id=4, priority=1)))
    assert await ids_available(store) == [1, 3, 5]
    assert await ids_available(store, after=1, limit=1) == [3]


async def test_a_window_merges_delayed_jobs_whose_time_has_come(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=1, due_at=100), JOB._replace(id=2), JOB._replace(id=3, due_at=200)))
    assert await ids_available(store, due_before=99) == [2]
    assert await ids_available(store, due_before=100) == [1, 2]
    assert await ids_available(store, due_before=500) == [1, 2, 3]
    assert await ids_available(store, due_before=500, limit=2) == [1, 2]
    assert await ids_available(store, due_before=500, after=1) == [2, 3]


async def test_a_filled_window_is_one_in_which_something_is_available(store: RunnerStore) -> None:
    due_later = JOB._replace(id=4, shard=6, due_at=100)
    await commit(store, (JOB._replace(id=1), JOB._replace(id=2, shard=4), JOB._replace(id=3, priority=1), due_later))
    windows = [(shard, priority, 0) for shard in (3, 4, 5, 6) for priority in (1, 2)]
    assert sorted(await store.jobs.filled(windows, due_before=99)) == [(3, 1), (3, 2), (4, 2)]
    assert sorted(await store.jobs.filled(windows, due_before=100)) == [(3, 1), (3, 2), (4, 2), (6, 2)]
    assert sorted(await store.jobs.filled([(3, 1, 2), (3, 2, 1), (6, 2, 4)], due_before=100)) == [(3, 1)]
    assert list(await store.jobs.filled([], due_before=100)) == []


async def test_live_jobs_are_read_together(store: RunnerStore) -> None:
    jobs = [JOB._replace(id=number) for number in (1, 2, 3)]
    await commit(store, tuple(jobs))
    assert list(await store.jobs.live_of([3, 7, 1, 3])) == [jobs[0], jobs[2]]
    assert list(await store.jobs.live_of([])) == []


async def test_upcoming_jobs_come_soonest_first(store: RunnerStore) -> None:
    due = {1: 300, 2: 100, 3: 200, 4: 0, 5: 200}
    await commit(store, tuple(JOB._replace(id=number, due_at=at) for number, at in due.items()))
    assert [row.id for row in await store.jobs.upcoming(due_after=0, id_after=0, limit=9)] == [2, 3, 5, 1]
    assert [row.id for row in await store.jobs.upcoming(due_after=100, id_after=2, limit=1)] == [3]
    assert [row.id for row in await store.jobs.upcoming(due_after=200, id_after=3, limit=9)] == [5, 1]


async def test_one_live_job_holds_a_key_of_its_type_and_group(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=1, key="k"),))
    with pytest.raises(Conflict):
        await commit(store, (JOB._replace(id=2, key="k"),))
    await commit(store, (JOB._replace(id=3, key="k", group="g"), JOB._replace(id=4, key="k", job_type="other")))
    alone = await store.jobs.live_by_key("send_receipt", None, "k")
    grouped = await store.jobs.live_by_key("send_receipt", "g", "k")
    assert alone is not None and alone.id == 1
    assert grouped is not None and grouped.id == 3
    assert await store.jobs.live_by_key("send_receipt", "h", "k") is None


async def test_a_finished_job_holds_its_key_against_all_but_a_replay(store: RunnerStore) -> None:
    """Also where its end and the new one come in one batch."""
    await commit(store, (JOB._replace(id=1, key="k"),))
    with pytest.raises(Conflict) as refused:
        await commit(store, (END._replace(id=1),), (JOB._replace(id=2, key="k"),))
    assert refused.value.unit_index == 1
    await commit(store, (END._replace(id=1),))
    with pytest.raises(Conflict):
        await commit(store, (JOB._replace(id=2, key="k"),))
    await commit(store, (JOB._replace(id=3, key="k", group="g"), JOB._replace(id=4, key="k", job_type="other")))
    await commit(store, (JOB._replace(id=5, key="k", replay_of=1),))
    replay = await store.jobs.live_by_key("send_receipt", None, "k")
    assert replay is not None and replay.id == 5


async def test_a_retry_is_guarded_by_the_attempt(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=7),))
    await commit(store, (RETRY._replace(id=7),))
    kept = JOB._replace(id=7, attempt=1, due_at=9_000, eligible_at=9_000, last_error="boom")
    assert await store.jobs.live(7) == kept
    with pytest.raises(Conflict):
        await commit(store, (RETRY._replace(id=7),))
    with pytest.raises(Conflict):
        await commit(store, (RETRY._replace(id=8),))


async def test_an_attempt_given_back_does_not_count(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=7),))
    await commit(store, (RETRY._replace(id=7, attempt=0, due_at=0),))
    job = await store.jobs.live(7)
    assert job is not None and job.attempt == 0


async def test_an_end_moves_the_job_to_the_archive(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=7, key="k", group="g", replay_of=3),))
    await commit(store, (END._replace(id=7),))
    ended = await store.jobs.archived(7)
    assert await store.jobs.live(7) is None
    assert ended is not None
    assert (ended.job_type, ended.priority, ended.shard, ended.key, ended.group) == ("send_receipt", 2, 3, "k", "g")
    assert (ended.state, ended.result, ended.error, ended.reason) == ("completed", b"result", None, None)
    assert (ended.attempts, ended.created_at, ended.finished_at, ended.finished_by) == (1, 1_000, 2_000, 1)
    assert (ended.admitted_by, ended.replay_of, ended.replayed_at, ended.discarded_at) == (1, 3, None, None)
    assert (ended.max_attempts, ended.timeout_us, ended.payload_hash) == (5, 30_000_000, b"hash")


@pytest.mark.parametrize(("state", "payload"), [("completed", b""), ("cancelled", b""), ("dead", b"payload")])
async def test_only_a_dead_job_keeps_its_payload(store: RunnerStore, state: str, payload: bytes) -> None:
    await commit(store, (JOB._replace(id=7),), (END._replace(id=7, state=state),))
    ended = await store.jobs.archived(7)
    assert ended is not None and ended.payload == payload


async def test_a_superseded_attempt_cannot_end_the_job(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=7),), (RETRY._replace(id=7),))
    with pytest.raises(Conflict):
        await commit(store, (END._replace(id=7, expected=0),))
    assert await store.jobs.live(7) is not None
    assert await store.jobs.archived(7) is None


async def test_a_job_ends_once(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=7),), (END._replace(id=7),))
    with pytest.raises(Conflict):
        await commit(store, (END._replace(id=7, state="cancelled"),))
    ended = await store.jobs.archived(7)
    assert ended is not None and ended.state == "completed"


async def test_two_ends_of_one_job_in_a_batch_are_a_conflict_of_the_second(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=7),))
    with pytest.raises(Conflict) as caught:
        await commit(store, (END._replace(id=7),), (END._replace(id=7, state="cancelled"),))
    assert caught.value.unit_index == 1
    assert await store.jobs.live(7) is not None


async def test_a_job_given_back_after_its_end_in_one_batch_is_a_conflict(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=7),))
    with pytest.raises(Conflict) as caught:
        await commit(store, (END._replace(id=7),), (RETRY._replace(id=7, attempt=0),))
    assert caught.value.unit_index == 1


async def test_a_batch_may_retry_a_job_and_then_end_it(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=7),))
    await commit(store, (RETRY._replace(id=7),), (END._replace(id=7, expected=1),))
    assert await store.jobs.archived(7) is not None


async def test_the_newest_finished_job_answers_for_its_key(store: RunnerStore) -> None:
    for number, replayed in ((1, None), (2, 1)):
        await commit(store, (JOB._replace(id=number, key="k", replay_of=replayed),), (END._replace(id=number),))
    newest = await store.jobs.archived_by_key("send_receipt", None, "k")
    assert newest is not None and newest.id == 2
    assert await store.jobs.archived_by_key("send_receipt", "g", "k") is None


async def kill(store: RunnerStore, *numbers: int, job_type: str = "send_receipt") -> None:
    await commit(store, tuple(JOB._replace(id=number, job_type=job_type) for number in numbers))
    await commit(store, tuple(END._replace(id=number, state="dead", finished_at=number) for number in numbers))


async def test_dead_jobs_are_listed_until_somebody_deals_with_them(store: RunnerStore) -> None:
    await kill(store, 1, 2, 3)
    await kill(store, 4, job_type="other")
    await commit(store, (JOB._replace(id=5),), (END._replace(id=5),))
    assert [row.id for row in await store.jobs.dead(after=0, limit=9)] == [1, 2, 3, 4]
    assert [row.id for row in await store.jobs.dead(after=1, limit=1)] == [2]
    assert [row.id for row in await store.jobs.dead(after=0, limit=9, job_type="other")] == [4]
    await commit(store, (JobReplay(replayed_at=50, id=1), JOB._replace(id=9, replay_of=1)), (JobDiscard(60, 2),))
    assert [row.id for row in await store.jobs.dead(after=0, limit=9)] == [3, 4]
    replayed, discarded = await store.jobs.archived(1), await store.jobs.archived(2)
    assert replayed is not None and replayed.replayed_at == 50
    assert discarded is not None and discarded.discarded_at == 60


async def test_a_dead_job_is_dealt_with_once(store: RunnerStore) -> None:
    await kill(store, 1, 2)
    await commit(store, (JobReplay(50, 1),), (JobDiscard(50, 2),))
    for row in (JobReplay(60, 1), JobDiscard(60, 1), JobReplay(60, 2), JobDiscard(60, 2)):
        with pytest.raises(Conflict):
            await commit(store, (row,))


async def test_a_job_that_is_not_dead_is_not_replayed(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=1),), (END._replace(id=1),))
    with pytest.raises(Conflict):
        await commit(store, (JobReplay(50, 1), JOB._replace(id=2, replay_of=1)))
    assert await store.jobs.live(2) is None


async def test_a_job_that_has_ended_is_not_stored_as_a_fresh_one(store: RunnerStore) -> None:
    """Neither on its own nor beside others, and not in the commit that ends it either."""
    await commit(store, (FreshJob(1), JOB._replace(id=1)), (END._replace(id=1),))
    for batch in ([(FreshJob(1), JOB._replace(id=1))], [(JOB._replace(id=2),), (FreshJob(1), JOB._replace(id=1))]):
        with pytest.raises(Conflict) as conflict:
            await commit(store, *batch)
        assert conflict.value.unit_index in (None, len(batch) - 1)
    again = (FreshJob(3), JOB._replace(id=3))
    with pytest.raises(Conflict):
        await commit(store, again, (END._replace(id=3),), again)
    assert [await store.jobs.live(number) for number in (1, 2, 3)] == [None, None, None]


async def test_start_records_come_by_id_until_they_end(store: RunnerStore) -> None:
    await commit(store, (start(2, (7, 1)), start(1, (8, 1), (9, 3))))
    assert await store.jobs.starts() == [start(1, (8, 1), (9, 3)), start(2, (7, 1))]
    await commit(store, (EndStart(1),), (EndStart(5),))
    assert [row.id for row in await store.jobs.starts()] == [2]


async def test_live_jobs_are_counted_by_type_priority_and_time(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=1), JOB._replace(id=2, due_at=100), JOB._replace(id=3, due_at=101)))
    await commit(store, (JOB._replace(id=4, priority=0),))
    counts = await store.jobs.live_counts(due_before=100)
    assert sorted(counts) == [
        LiveJobs(JOB.shard, "send_receipt", 0, 1, 0),
        LiveJobs(JOB.shard, "send_receipt", 2, 2, 1),
    ]


async def test_dead_jobs_are_counted_with_the_time_of_the_oldest(store: RunnerStore) -> None:
    await kill(store, 3, 2, 1)
    await commit(store, (JobDiscard(60, 1),))
    assert await store.jobs.dead_counts() == [DeadJobs("send_receipt", 2, 2)]


async def test_operators_page_through_jobs_by_id_live_ones_and_those_that_ended(store: RunnerStore) -> None:
    others = [JOB._replace(id=number, job_type="other") for number in (2, 4)]
    await commit(store, (*(JOB._replace(id=number) for number in (5, 1, 3)), *others))
    assert [row.id for row in await store.jobs.live_page(after=1, limit=3)] == [2, 3, 4]
    assert [row.id for row in await store.jobs.live_page(after=2, limit=9, job_type="other")] == [4]
    ends = {1: "completed", 2: "dead", 3: "dead", 4: "completed", 5: "completed"}
    await commit(store, *((END._replace(id=number, expected=0, state=state),) for number, state in ends.items()))
    assert await store.jobs.live_page(after=0, limit=9) == []
    ended = await store.jobs.archived_page(after=0, limit=2, state="completed")
    assert [row.id for row in ended] == [1, 4]
    assert [row.id for row in await store.jobs.archived_page(after=2, limit=9, state="dead")] == [3]
    assert [row.id for row in await store.jobs.archived_page(after=0, limit=9, state="dead", job_type="other")] == [2]
