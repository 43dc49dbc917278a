"""Incarnations, shards and the fence."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import FencedOut, StoreUnavailable
from holdfast.model.address import Address
from holdfast.model.cluster import GroupRow
from holdfast.ports.store import RunnerStore
from tests.support.membership import LEASE_US, claim_all, renew

from .conftest import ManualClock, Place, commit
from .rows import REGISTRATION, STATE, unit


async def test_a_runner_registers_with_all_it_said(store: RunnerStore, clock: ManualClock) -> None:
    (row,) = await store.membership.runners()
    assert (row.runner_id, row.address, row.version) == (1, "unix:/run/here", "1.2.3")
    assert (row.types, row.groups, row.weight) == (("Cart", "Stock"), ("default",), 1.0)
    assert (row.state, row.wanted) == ("active", "active")
    assert (row.started_at, row.expires_at) == (clock.now, clock.now + LEASE_US)


async def test_an_incarnation_is_never_used_again(store: RunnerStore) -> None:
    second = await store.membership.register(REGISTRATION)
    await store.membership.leave(second)
    assert await store.membership.register(REGISTRATION) == 3


async def test_registering_reaps_the_incarnations_before(store: RunnerStore) -> None:
    await store.membership.register(REGISTRATION)
    assert [row.runner_id for row in await store.membership.runners()] == [2]
    assert await renew(store, 1) is None


async def test_a_renewal_extends_the_lease_and_says_the_state(store: RunnerStore, clock: ManualClock) -> None:
    clock.now += 2_000_000
    assert await renew(store, 1, state="draining") is not None
    (row,) = await store.membership.runners()
    assert (row.state, row.expires_at) == ("draining", clock.now + LEASE_US)


async def test_a_claim_makes_the_shards_of_a_new_group(store: RunnerStore) -> None:
    assert await store.shard_count("default") is None
    claimed = await claim_all(store, 1, shards=4)
    assert [(row.number, row.runner_id, row.epoch) for row in claimed] == [(n, 1, 1) for n in range(4)]
    assert await store.shard_count("default") == 4
    assert await store.membership.shards() == claimed


async def test_a_recorded_shard_count_wins(store: RunnerStore) -> None:
    await claim_all(store, 1, shards=4)
    assert await claim_all(store, 1, shards=64) == []
    assert await store.shard_count("default") == len(await store.membership.shards()) == 4


async def test_claiming_twice_changes_nothing(store: RunnerStore) -> None:
    claimed = await claim_all(store, 1, shards=4)
    assert await claim_all(store, 1, shards=4) == []
    assert await store.membership.shards() == claimed


async def test_groups_have_ranges_that_never_overlap(store: RunnerStore) -> None:
    await claim_all(store, 1, group="b", shards=2)
    assert [row.group for row in await claim_all(store, 1, group="a", shards=1)] == ["a"]
    assert [(row.group, row.number) for row in await store.membership.shards()] == [("b", 0), ("b", 1), ("a", 2)]
    assert await store.membership.groups() == [GroupRow("b", 0, 2, ()), GroupRow("a", 2, 1, ())]


async def test_the_next_incarnation_takes_the_shards_under_a_new_epoch(store: RunnerStore) -> None:
    await claim_all(store, 1, shards=2)
    await store.membership.register(REGISTRATION)
    claimed = await claim_all(store, 2, shards=2)
    assert [(row.runner_id, row.epoch) for row in claimed] == [(2, 2), (2, 2)]


async def test_leaving_ends_the_incarnation_and_its_ownership(store: RunnerStore) -> None:
    await claim_all(store, 1, shards=2)
    await store.membership.leave(1)
    assert await store.membership.runners() == []
    assert [row.runner_id for row in await store.membership.shards()] == [0, 0]
    assert await store.runner_address() is None


async def test_a_reaped_incarnation_claims_nothing(store: RunnerStore) -> None:
    await store.membership.register(REGISTRATION)
    with pytest.raises(FencedOut):
        await claim_all(store, 1, shards=2)
    assert [row.runner_id for row in await store.membership.shards()] == [0, 0]


async def test_the_address_of_the_runner_is_known(store: RunnerStore) -> None:
    assert await store.runner_address() == "unix:/run/here"


async def test_who_has_left_writes_no_more(store: RunnerStore) -> None:
    await store.membership.leave(1)
    with pytest.raises(FencedOut):
        await commit(store, (STATE,))
    assert await store.messages.state(Address("Cart", "c-1")) is None


async def test_who_never_registered_writes_nothing(place: Place) -> None:
    store = await place.open()
    with pytest.raises(FencedOut):
        await commit(store, (STATE,))
    await store.close()


async def test_a_transaction_of_an_incarnation_that_left_is_fenced_out(store: RunnerStore) -> None:
    await store.membership.leave(1)
    with pytest.raises(FencedOut):
        transaction = await store.journal.begin(timeout_s=60)
        await transaction.commit(unit(STATE))
    assert await store.messages.state(Address("Cart", "c-1")) is None


@pytest.mark.embedded
async def test_who_waits_to_commit_while_it_is_reaped_is_fenced_out(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    reaping = asyncio.ensure_future(store.membership.register(REGISTRATION))
    await asyncio.sleep(0)
    waiting = store.journal.commit([unit(STATE)])
    assert waiting is not None
    await transaction.rollback()
    assert await reaping == 2
    with pytest.raises(FencedOut):
        await waiting
    await commit(store, (STATE,))


@pytest.mark.embedded
async def test_a_second_runner_is_refused_until_the_first_is_closed(store: RunnerStore, place: Place) -> None:
    with pytest.raises(StoreUnavailable):
        await place.open()
    await commit(store, (STATE,))
    await store.close()
    second = await place.open()
    await second.close()
