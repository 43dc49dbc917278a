"""What belongs to the whole store: ids, the inbox, closing and opening again."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import Conflict, PersistenceError
from holdfast.model.address import Address
from holdfast.model.inbox import InboxKind
from holdfast.model.message import Consume, InboxRow, Take
from holdfast.ports.store import RunnerStore

from .conftest import ManualClock, Place, commit
from .rows import DONE, JOB, MESSAGE, REGISTRATION, STATE, unit


async def test_ids_ascend_in_blocks_that_never_overlap(store: RunnerStore) -> None:
    first, second = await store.ids.allocate(100), await store.ids.allocate(1)
    assert second >= first + 100
    assert await store.ids.allocate(5) > second


async def test_ids_go_on_after_a_restart(store: RunnerStore, place: Place) -> None:
    first = await store.ids.allocate(100)
    await store.close()
    again = await place.open()
    assert await again.ids.allocate(1) >= first + 100
    await again.close()


async def test_all_that_was_committed_is_there_after_a_restart(store: RunnerStore, place: Place) -> None:
    await commit(store, (STATE, MESSAGE._replace(id=1), JOB._replace(id=2)), (DONE._replace(id=3),))
    cluster = await store.cluster_id()
    await store.close()
    again = await place.open()
    assert await again.messages.state(Address("Cart", "c-1")) is not None
    assert await again.messages.by_id(1) is not None
    assert await again.jobs.live(2) is not None
    assert await again.messages.done(3) is not None
    assert await again.cluster_id() == cluster
    await again.close()


async def test_closing_twice_is_closing_once(store: RunnerStore) -> None:
    await store.close()
    await store.close()


async def test_inbox_rows_come_oldest_first_until_taken(store: RunnerStore, clock: ManualClock) -> None:
    await store.inbox.leave([(5, 3, InboxKind.JOB, b"five"), (2, 9, InboxKind.MESSAGE, b"two")])
    await commit(store, (InboxRow(4, 3, InboxKind.COMMAND, b"four", 77),))
    assert await store.inbox_reader.entry(2) == InboxRow(2, 9, InboxKind.MESSAGE, b"two", clock.now)
    assert await store.inbox_reader.entry(3) is None
    rows = await store.inbox_reader.inbox(limit=9)
    assert rows == [
        InboxRow(2, 9, InboxKind.MESSAGE, b"two", clock.now),
        InboxRow(4, 3, InboxKind.COMMAND, b"four", 77),
        InboxRow(5, 3, InboxKind.JOB, b"five", clock.now),
    ]
    await commit(store, (Take(2), MESSAGE._replace(id=2)), (Take(4),))
    assert [row.id for row in await store.inbox_reader.inbox(limit=9)] == [5]
    assert await store.inbox_reader.entry(2) is None
    with pytest.raises(Conflict):
        await commit(store, (Take(2),))


async def test_an_inbox_row_is_left_once(store: RunnerStore) -> None:
    await store.inbox.leave([(5, 3, InboxKind.JOB, b"five")])
    with pytest.raises(Conflict):
        await store.inbox.leave([(6, 3, InboxKind.JOB, b"six"), (5, 3, InboxKind.JOB, b"again")])
    assert [row.body for row in await store.inbox_reader.inbox(limit=9)] == [b"five"]


async def test_a_unit_is_all_or_nothing(store: RunnerStore) -> None:
    with pytest.raises(Conflict):
        await commit(store, (STATE, MESSAGE._replace(id=1), JOB._replace(id=2), DONE._replace(id=3), Consume(99)))
    assert await store.messages.state(Address("Cart", "c-1")) is None
    assert await store.messages.by_id(1) is None
    assert await store.jobs.live(2) is None
    assert await store.messages.done(3) is None


async def test_a_failed_batch_does_not_stand_in_the_way_of_the_next(store: RunnerStore) -> None:
    with pytest.raises(Conflict):
        await commit(store, (STATE,), (STATE,))
    await commit(store, (STATE,))


async def test_an_empty_unit_commits(store: RunnerStore) -> None:
    await commit(store, (), ())


@pytest.mark.embedded
async def test_an_open_transaction_makes_commits_wait(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    waiting = store.journal.commit([unit(STATE._replace(version=2))])
    assert waiting is not None
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    assert not task.done()
    await transaction.commit(unit(STATE))
    await task
    assert await store.messages.state(Address("Cart", "c-1")) == (2, 1, b"state")


@pytest.mark.embedded
async def test_transactions_are_open_one_at_a_time(store: RunnerStore) -> None:
    first = await store.journal.begin(timeout_s=60)
    second = asyncio.ensure_future(store.journal.begin(timeout_s=60))
    await asyncio.sleep(0)
    assert not second.done()
    await first.rollback()
    await (await second).commit(unit(STATE))
    assert await store.messages.state(Address("Cart", "c-1")) is not None


async def test_a_transaction_that_ended_is_over(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    await transaction.commit(unit(STATE))
    await transaction.rollback()
    with pytest.raises(PersistenceError):
        await transaction.commit(unit(STATE._replace(version=2)))
    with pytest.raises(PersistenceError):
        await transaction.execute("SELECT 1")
    assert await store.messages.state(Address("Cart", "c-1")) == (1, 1, b"state")


async def test_a_transaction_whose_unit_conflicts_is_taken_back_and_lets_go(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    with pytest.raises(Conflict):
        await transaction.commit(unit(JOB._replace(id=1), STATE._replace(version=2)))
    await commit(store, (STATE,))
    assert await store.jobs.live(1) is None


@pytest.mark.embedded
async def test_a_transaction_left_open_is_taken_back_after_its_time(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=0.01)
    await asyncio.wait_for(store.membership.want(1, "active"), 30)
    with pytest.raises(PersistenceError):
        await transaction.commit(unit(STATE))
    assert await store.messages.state(Address("Cart", "c-1")) is None


@pytest.mark.embedded
async def test_writes_beside_the_journal_wait_for_an_open_transaction_too(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    waiting = [
        asyncio.ensure_future(store.ids.allocate(1)),
        asyncio.ensure_future(store.inbox.leave([(5, 3, InboxKind.JOB, b"")])),
        asyncio.ensure_future(store.membership.register(REGISTRATION)),
        asyncio.ensure_future(store.maintenance.prune(finished_before=1, limit=1)),
    ]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting[:3])
    await transaction.rollback()
    await asyncio.gather(*waiting)


async def test_a_closed_store_commits_no_more(store: RunnerStore) -> None:
    await store.close()
    with pytest.raises(PersistenceError):
        await commit(store, (STATE,))
    with pytest.raises(PersistenceError):
        await store.inbox.leave([(5, 3, InboxKind.JOB, b"five")])
