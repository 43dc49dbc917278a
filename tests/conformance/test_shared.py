"""What only a store for many processes can show: runners side by side, leases that run out, overlapping commits."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import FencedOut, PersistenceError
from holdfast.model.address import Address
from holdfast.model.inbox import InboxKind
from holdfast.model.job import StartRecord, pack_attempts
from holdfast.ports.store import RunnerStore
from tests.support.membership import claim_all, renew

from .conftest import ManualClock, commit
from .rows import DONE, MESSAGE, REGISTRATION, STATE, unit

pytestmark = pytest.mark.shared

CART = Address("Cart", "c-1")
AFTER_THE_LEASE = REGISTRATION.lease_ttl_us + 1


async def test_runners_are_registered_side_by_side(store: RunnerStore, other: RunnerStore) -> None:
    assert [row.runner_id for row in await store.membership.runners()] == [1, 2]
    await commit(store, (STATE,))
    await commit(other, (STATE._replace(entity_id="c-2"),))
    assert await store.messages.state(Address("Cart", "c-2")) is not None


async def test_a_claim_leaves_the_shards_of_the_living_alone(store: RunnerStore, other: RunnerStore) -> None:
    assert len(await claim_all(store, 1, shards=4)) == 4
    assert await claim_all(other, 2, shards=4) == []


async def test_runners_that_claim_at_once_share_the_shards_out(store: RunnerStore, other: RunnerStore) -> None:
    mine, theirs = await asyncio.gather(claim_all(store, 1, shards=64), claim_all(other, 2, shards=64))
    numbers = [row.number for row in (*mine, *theirs)]
    assert sorted(numbers) == list(range(64))
    assert {row.epoch for row in (*mine, *theirs)} == {1}


async def test_a_runner_whose_lease_ran_out_is_reaped_by_the_next_claim(
    store: RunnerStore, other: RunnerStore, clock: ManualClock
) -> None:
    await claim_all(store, 1, shards=4)
    clock.now += AFTER_THE_LEASE
    await renew(other, 2)
    claimed = await claim_all(other, 2, shards=4)
    assert [(row.runner_id, row.epoch) for row in claimed] == [(2, 2)] * 4
    assert [row.runner_id for row in await store.membership.runners()] == [2]
    with pytest.raises(FencedOut):
        await commit(store, (STATE,))
    assert await renew(store, 1) is None
    assert await other.messages.state(CART) is None


async def test_a_late_renewal_is_valid_as_long_as_nobody_reaped(
    store: RunnerStore, other: RunnerStore, clock: ManualClock
) -> None:
    await claim_all(store, 1, shards=4)
    clock.now += AFTER_THE_LEASE
    assert await renew(store, 1) is not None
    await renew(other, 2)
    assert await claim_all(other, 2, shards=4) == []
    await commit(store, (STATE,))


async def test_a_reaped_runner_may_register_anew(store: RunnerStore, other: RunnerStore, clock: ManualClock) -> None:
    clock.now += AFTER_THE_LEASE
    await renew(other, 2)
    await claim_all(other, 2, shards=4)
    assert await store.membership.register(REGISTRATION) == 3
    await commit(store, (STATE,))
    assert await store.messages.state(CART) is not None


async def test_a_crash_is_counted_in_the_shards_of_the_dead_only(
    store: RunnerStore, other: RunnerStore, clock: ManualClock
) -> None:
    await claim_all(store, 1, shards=4)
    rows = [
        MESSAGE._replace(id=1, shard=3),
        MESSAGE._replace(id=2, shard=3),
        MESSAGE._replace(id=3, shard=3, entity_id="c-2", due_at=2**60),
        MESSAGE._replace(id=4, shard=3, entity_id="c-3", crashes=1),
        MESSAGE._replace(id=5, shard=3, entity_id="c-4", crashes=1),
        MESSAGE._replace(id=6, shard=9, entity_id="c-5"),
        MESSAGE._replace(id=7, shard=9, entity_id="c-6", crashes=1),
        StartRecord(8, 1, 1, pack_attempts([(4, 1), (7, 1)]), 0),
    ]
    await commit(store, tuple(rows))
    clock.now += AFTER_THE_LEASE
    await renew(other, 2)
    await claim_all(other, 2, shards=4)
    found = {row.id: row.crashes for row in await other.messages.pending(after=0, limit=9, due_before=2**61)}
    assert found == {1: 1, 2: 0, 3: 0, 4: 2, 5: 1, 6: 0, 7: 1}


async def test_commits_may_overlap(store: RunnerStore) -> None:
    await asyncio.gather(*(commit(store, (DONE._replace(id=number),)) for number in range(1, 9)))
    assert [number for number in range(1, 9) if await store.messages.done(number) is None] == []


async def test_a_commit_does_not_wait_for_an_open_transaction(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    await transaction.fetch("SELECT 1")
    await commit(store, (STATE,))
    await transaction.commit(unit(STATE._replace(version=2)))
    assert await store.messages.state(CART) == (2, 1, b"state")


async def test_transactions_may_be_open_side_by_side(store: RunnerStore) -> None:
    first, second = [await store.journal.begin(timeout_s=60) for _ in range(2)]
    await second.commit(unit(STATE))
    await first.rollback()
    assert await store.messages.state(CART) is not None


async def test_a_transaction_that_takes_too_long_is_taken_back(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=0.2)
    with pytest.raises(PersistenceError):
        await transaction.fetch("SELECT pg_sleep(20)")
    with pytest.raises(PersistenceError):
        await transaction.commit(unit(STATE))
    assert await store.messages.state(CART) is None


async def test_whoever_leaves_something_wakes_the_others_once(
    store: RunnerStore, other: RunnerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.storage.postgres.inbox._POLL_S", 3600.0)  # else a slow machine is told by the poll
    assert await store.inbox_changed()  # nobody knows what was there before
    assert not await store.inbox_changed()
    await other.inbox.leave([(5, 3, InboxKind.JOB, b"five"), (6, 3, InboxKind.JOB, b"six")])
    async with asyncio.timeout(60):
        while not await store.inbox_changed():
            await store.inbox_reader.inbox(limit=1)  # the notification travels on a line of its own
    assert not await store.inbox_changed()
