"""The store's own counts, and that they survive retention."""

from __future__ import annotations

from holdfast.model.job import EndStart, JobDiscard, JobReplay
from holdfast.model.ledger import JobCounts, Ledger, MessageCounts
from holdfast.model.message import Consume, OutcomeKind
from holdfast.ports.store import RunnerStore

from .conftest import ManualClock, commit
from .rows import DEAD, DONE, END, JOB, MESSAGE, RETRY, STATE, start


def job_counts(**counts: int) -> JobCounts:
    return JobCounts(**{**dict.fromkeys(JobCounts._fields[2:], 0), **counts}, job_type="send_receipt", priority=2)


async def some_of_everything(store: RunnerStore, clock: ManualClock) -> None:
    """Jobs 1 to 9 in every state there is, and messages 20 to 26 likewise."""
    later = clock.now + 1
    await commit(
        store,
        (JOB._replace(id=1), JOB._replace(id=2, due_at=later), JOB._replace(id=3), JOB._replace(id=4, admitted_by=2)),
        tuple(JOB._replace(id=number) for number in (5, 6, 7, 8)),
        (start(90, (3, 1), (1, 2), (5, 1)),),  # the pair of job 1 is not its next attempt; job 5 will have ended
        (RETRY._replace(id=4, due_at=later),),
        (END._replace(id=5), END._replace(id=6, state="cancelled")),
        (END._replace(id=7, state="dead"), END._replace(id=8, state="dead")),
        (JobReplay(50, 7), JOB._replace(id=9, replay_of=7), JobDiscard(50, 8)),
    )
    await commit(
        store,
        (MESSAGE._replace(id=20), MESSAGE._replace(id=21, deliveries=3, admitted_by=2)),
        (DONE._replace(id=22), DONE._replace(id=23, deliveries=2, kind=OutcomeKind.DECLARED_ERROR)),
        (DONE._replace(id=24, deliveries=10, kind=OutcomeKind.DEAD), DEAD._replace(id=24)),
        (DEAD._replace(id=25, deliveries=4, entity_type="Stock"),),
        (STATE, STATE._replace(entity_id="c-2")),
    )


EVERYTHING = Ledger(
    jobs=(
        job_counts(
            scheduled=1, available=2, running=1, retrying=1, completed=1, cancelled=1, dead=2, replayed=1,
            discarded=1, enqueued=8,
        ),
    ),
    messages=(
        MessageCounts("Cart", pending=2, done=2, dead=1, deliveries=16, delivered_once=4),
        MessageCounts("Stock", pending=0, done=0, dead=1, deliveries=4, delivered_once=1),
    ),
    entities_stored=2,
    inbox=0,
    counted_by={1: 11, 2: 2},
)  # fmt: skip


async def test_an_empty_store_counts_nothing(store: RunnerStore) -> None:
    assert await store.ledger.ledger() == Ledger((), (), 0, 0, {})


async def test_the_ledger_counts_every_state(store: RunnerStore, clock: ManualClock) -> None:
    await some_of_everything(store, clock)
    assert await store.ledger.ledger() == EVERYTHING


async def test_what_came_in_is_what_went_out_or_is_there(store: RunnerStore, clock: ManualClock) -> None:
    await some_of_everything(store, clock)
    (jobs,) = (await store.ledger.ledger()).jobs
    assert jobs.enqueued + jobs.replayed == jobs.completed + jobs.cancelled + jobs.dead + jobs.live
    assert jobs.dlq_size == 0


async def test_an_ended_start_record_runs_nothing(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=1), start(90, (1, 1))))
    await commit(store, (EndStart(90),))
    (jobs,) = (await store.ledger.ledger()).jobs
    assert (jobs.running, jobs.available) == (0, 1)


async def test_pruning_changes_no_count(store: RunnerStore, clock: ManualClock) -> None:
    await some_of_everything(store, clock)
    pruned = 0
    while gone := await store.maintenance.prune(finished_before=clock.now, limit=2):
        pruned += gone
    assert pruned == 6  # four finished jobs, two outcomes; that of the dead letter stays with it
    assert await store.jobs.archived(7) is None
    assert await store.messages.done(22) is None
    assert await store.messages.done(24) is not None
    assert await store.ledger.ledger() == EVERYTHING


async def test_pruning_takes_what_finished_before_and_no_more_than_asked_for(store: RunnerStore) -> None:
    await commit(store, tuple(DONE._replace(id=number, finished_at=number * 1_000) for number in range(1, 9)))
    assert await store.maintenance.prune(finished_before=6_000, limit=2) == 2
    assert await store.maintenance.prune(finished_before=6_000, limit=10) == 3
    assert await store.maintenance.prune(finished_before=6_000, limit=10) == 0
    left = [number for number in range(1, 9) if await store.messages.done(number) is not None]
    assert left == [6, 7, 8]


async def test_pruning_finds_what_finished_late(store: RunnerStore) -> None:
    await commit(store, (DONE._replace(id=1, finished_at=9_000), DONE._replace(id=2)))
    assert await store.maintenance.prune(finished_before=5_000, limit=10) == 1
    assert await store.maintenance.prune(finished_before=10_000, limit=10) == 1
    assert await store.messages.done(1) is None


async def test_pruning_keeps_dead_jobs_until_they_are_dealt_with(store: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=1),), (END._replace(id=1, state="dead"),))
    assert await store.maintenance.prune(finished_before=5_000, limit=10) == 0
    await commit(store, (JobDiscard(3_000, 1),))
    assert await store.maintenance.prune(finished_before=5_000, limit=10) == 1


async def test_consumed_messages_count_by_their_outcome_only(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=1, deliveries=1),), (Consume(1), DONE._replace(id=1)))
    (messages,) = (await store.ledger.ledger()).messages
    assert messages == MessageCounts("Cart", pending=0, done=1, dead=0, deliveries=1, delivered_once=1)
