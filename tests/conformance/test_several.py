"""Several runners: who owns what, how it changes hands, and what a reaper does for the dead."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import FencedOut
from holdfast.model.inbox import InboxKind
from holdfast.model.job import CRASHED
from holdfast.ports.store import RunnerStore
from tests.support.membership import LEASE_US, claim_all, renew

from .conftest import ManualClock, Place, commit
from .rows import JOB, MESSAGE, REGISTRATION, RETRY, STATE, start

pytestmark = pytest.mark.several

LATER_US = LEASE_US + 1


async def owners(store: RunnerStore) -> list[tuple[int, int]]:
    return [(row.runner_id, row.epoch) for row in await store.membership.shards()]


async def test_a_renewal_brings_the_clock_and_all_runners(
    store: RunnerStore, other: RunnerStore, clock: ManualClock
) -> None:
    clock.now += 2_000_000
    renewal = await renew(other, 2, state="draining")
    assert renewal is not None and renewal.now_us == clock.now
    assert [(row.runner_id, row.state) for row in renewal.runners] == [(1, "active"), (2, "draining")]
    assert [row.expires_at for row in renewal.runners] == [clock.now + LEASE_US - 2_000_000, clock.now + LEASE_US]
    assert list(renewal.runners) == list(await store.membership.runners())


async def test_what_an_operator_wants_is_read_with_the_next_renewal(store: RunnerStore, other: RunnerStore) -> None:
    assert await other.membership.want(1, "cordoned")
    renewal = await renew(store, 1)
    assert renewal is not None
    assert [(row.state, row.wanted) for row in renewal.runners] == [("active", "cordoned"), ("active", "active")]
    assert not await other.membership.want(9, "cordoned")
    assert await store.membership.now_us() == renewal.now_us


async def test_a_claim_takes_what_is_asked_for_and_free(store: RunnerStore, other: RunnerStore) -> None:
    await store.membership.ensure_groups({"default": (4, ["Cart"])})
    assert [row.number for row in await store.membership.claim(1, [2, 0])] == [0, 2]
    assert [(row.number, row.epoch) for row in await other.membership.claim(2, range(4))] == [(1, 1), (3, 1)]
    assert await owners(store) == [(1, 1), (2, 1), (1, 1), (2, 1)]


async def test_two_that_claim_at_once_never_get_the_same(store: RunnerStore, other: RunnerStore) -> None:
    await store.membership.ensure_groups({"default": (64, ())})
    mine, theirs = await asyncio.gather(
        store.membership.claim(1, range(64)), other.membership.claim(2, list(reversed(range(64))))
    )
    assert sorted(row.number for row in (*mine, *theirs)) == list(range(64))
    assert {row.epoch for row in (*mine, *theirs)} == {1}


async def test_a_group_made_by_two_at_once_is_one(store: RunnerStore, other: RunnerStore) -> None:
    """And the ranges of groups that are made at the same time lie side by side."""
    found = await asyncio.gather(
        store.membership.ensure_groups({"a": (3, ["Cart"]), "b": (2, ["Stock"])}),
        other.membership.ensure_groups({"b": (5, ["Order"]), "c": (4, [])}),
    )
    groups = await store.membership.groups()
    assert list(groups) in [list(one) for one in found]
    assert {row.name: row.types for row in groups} == {"a": ("Cart",), "b": ("Order", "Stock"), "c": ()}
    numbers = [number for row in groups for number in range(row.first, row.first + row.shards)]
    assert numbers == [row.number for row in await store.membership.shards()] == list(range(len(numbers)))


async def test_a_hand_over_moves_what_the_giver_owns_under_a_new_epoch(store: RunnerStore, other: RunnerStore) -> None:
    await claim_all(store, 1, shards=3)
    moved = await store.membership.hand_over(1, [0, 2], 2)
    assert [(row.number, row.runner_id, row.epoch) for row in moved] == [(0, 2, 2), (2, 2, 2)]
    assert await store.membership.hand_over(1, [0, 1], 2) == [moved[0]._replace(number=1)]
    assert await store.membership.hand_over(1, [0, 1, 2], 2) == []
    assert await owners(store) == [(2, 2)] * 3
    back = await other.membership.hand_over(2, [1], 1)
    assert [(row.runner_id, row.epoch) for row in back] == [(1, 3)]


async def test_a_hand_over_needs_a_receiver_whose_lease_is_valid(
    store: RunnerStore, other: RunnerStore, clock: ManualClock
) -> None:
    await claim_all(store, 1, shards=2)
    clock.now += LATER_US
    await renew(store, 1)
    assert await store.membership.hand_over(1, [0], 2) == []
    assert await store.membership.hand_over(1, [0], 77) == []
    await renew(other, 2)
    assert [row.number for row in await store.membership.hand_over(1, [0], 2)] == [0]


async def test_who_was_reaped_hands_nothing_over(store: RunnerStore, other: RunnerStore, clock: ManualClock) -> None:
    await claim_all(store, 1, shards=2)
    clock.now += LATER_US
    await renew(other, 2)
    assert await other.membership.reap(ended_by_us=0) == []  # whatever the store's clock shows by now
    assert await other.membership.reap() == [1]
    assert await store.membership.hand_over(1, [0, 1], 2) == []
    assert await owners(store) == [(0, 1)] * 2
    with pytest.raises(FencedOut):
        await store.membership.claim(1, [0])
    assert await other.membership.claim(2, [0, 1]) != []
    with pytest.raises(FencedOut):
        await commit(store, (STATE,))


async def test_a_living_runner_is_not_reaped(store: RunnerStore, other: RunnerStore, clock: ManualClock) -> None:
    assert await other.membership.reap() == []
    clock.now += LATER_US - 1
    assert await other.membership.reap() == []
    clock.now += 1
    await renew(store, 1)
    assert await store.membership.reap() == [2]
    assert [row.runner_id for row in await store.membership.runners()] == [1]


async def test_reapers_that_race_count_a_crash_once(
    store: RunnerStore, other: RunnerStore, place: Place, clock: ManualClock
) -> None:
    third = await place.open()
    await third.membership.register(REGISTRATION)
    await claim_all(store, 1, shards=4)
    await commit(store, (MESSAGE._replace(id=1), JOB._replace(id=2), start(3, (2, 1))))
    clock.now += LATER_US
    await asyncio.gather(renew(other, 2), renew(third, 3))
    reaped = await asyncio.gather(*(runner.membership.reap() for runner in (other, third) for _ in range(2)))
    assert sorted(number for some in reaped for number in some) == [1]
    message, job = await other.messages.by_id(1), await other.jobs.live(2)
    assert message is not None and job is not None
    assert (message.crashes, job.crashes, job.attempt, job.last_error) == (1, 1, 0, CRASHED)
    assert await other.jobs.starts() == []
    await third.close()


async def test_a_crash_counts_for_jobs_at_an_attempt_of_the_dead_executor(
    store: RunnerStore, other: RunnerStore, clock: ManualClock
) -> None:
    """Whoever owns them; not for those whose attempt had ended, nor for what the living run."""
    await claim_all(store, 1, shards=4)
    await commit(store, tuple(JOB._replace(id=number) for number in range(1, 7)))
    await commit(store, (start(10, (1, 1), (2, 1), (3, 1)), start(11, (4, 2), (9, 1), (1, 1))))
    await commit(other, (start(12, (5, 1))._replace(executor=2, owner=2),))
    await commit(store, (RETRY._replace(id=3),))
    await store.membership.hand_over(1, [3], 2)
    clock.now += LATER_US
    await renew(other, 2)
    assert await other.membership.reap() == [1]
    crashes = {number: job.crashes for number in range(1, 7) if (job := await other.jobs.live(number)) is not None}
    assert crashes == {1: 1, 2: 1, 3: 0, 4: 0, 5: 0, 6: 0}
    assert [row.id for row in await other.jobs.starts()] == [12]


async def test_who_leaves_takes_its_start_records_along(store: RunnerStore, other: RunnerStore) -> None:
    await commit(store, (JOB._replace(id=1), start(10, (1, 1))))
    await store.membership.leave(1)
    assert await other.jobs.starts() == []
    job = await other.jobs.live(1)
    assert job is not None and (job.crashes, job.last_error) == (0, None)


async def test_registering_anew_ends_ones_own_earlier_incarnation_only(store: RunnerStore, other: RunnerStore) -> None:
    await claim_all(store, 1, shards=2)
    assert await store.membership.register(REGISTRATION) == 3
    assert [row.runner_id for row in await store.membership.runners()] == [2, 3]
    assert await owners(store) == [(0, 1)] * 2
    await commit(store, (STATE,))
    await commit(other, (STATE._replace(version=2),))


async def test_what_one_leaves_the_other_finds_under_its_shard(store: RunnerStore, other: RunnerStore) -> None:
    await other.inbox.leave([(5, 0, InboxKind.JOB, b"five"), (6, 1, InboxKind.JOB, b"six")])
    assert [row.body for row in await store.inbox_reader.inbox(limit=9, shards=[1])] == [b"six"]
