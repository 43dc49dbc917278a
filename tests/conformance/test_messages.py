"""Durable messages: stored, consumed, tried again, dead, found by key and name, paged by id."""

from __future__ import annotations

import pytest

from holdfast.errors import Conflict
from holdfast.model.address import Address
from holdfast.model.job import StartRecord, pack_attempts
from holdfast.model.message import Consume, DeadMessageEnd, MessageRetry, OutcomeKind, TimerCancel
from holdfast.ports.store import RunnerStore

from .conftest import Place, commit
from .rows import DEAD, DONE, MESSAGE, REGISTRATION

CART = Address("Cart", "c-1")
OTHER = Address("Cart", "c-2")


async def test_a_stored_message_comes_back_as_it_was(store: RunnerStore) -> None:
    whole = MESSAGE._replace(
        id=7, key="k", headers=b"h", due_at=5, name="n", every_us=60, generation=2, deliveries=1, crashes=1,
        last_error="boom",
    )  # fmt: skip
    await commit(store, (whole,))
    assert await store.messages.by_id(7) == whole
    assert await store.messages.by_id(8) is None


async def test_a_message_id_is_stored_once(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=7),))
    with pytest.raises(Conflict):
        await commit(store, (MESSAGE._replace(id=7, method="other"),))


async def test_consuming_takes_the_message_away_and_leaves_its_outcome(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=7),))
    await commit(store, (Consume(7), DONE._replace(id=7)))
    assert await store.messages.by_id(7) is None
    assert await store.messages.done(7) == DONE._replace(id=7)


async def test_a_message_is_consumed_once(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=7),))
    await commit(store, (Consume(7),))
    with pytest.raises(Conflict):
        await commit(store, (Consume(7), DONE._replace(id=7)))
    assert await store.messages.done(7) is None


async def test_one_batch_may_store_a_message_and_consume_it(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=7),), (Consume(7), DONE._replace(id=7)))
    assert await store.messages.by_id(7) is None
    assert await store.messages.done(7) is not None


async def test_consuming_before_storing_is_a_conflict_of_the_first_unit(store: RunnerStore) -> None:
    with pytest.raises(Conflict) as caught:
        await commit(store, (Consume(7),), (MESSAGE._replace(id=7),))
    assert caught.value.unit_index == 0
    assert await store.messages.by_id(7) is None


async def test_a_retry_notes_the_failed_delivery(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=7),))
    await commit(store, (MessageRetry(deliveries=2, crashes=1, due_at=50, last_error="boom", id=7),))
    kept = MESSAGE._replace(id=7, deliveries=2, crashes=1, due_at=50, last_error="boom")
    assert await store.messages.by_id(7) == kept


async def test_a_retry_of_a_message_that_is_gone_is_a_conflict(store: RunnerStore) -> None:
    with pytest.raises(Conflict):
        await commit(store, (MessageRetry(deliveries=1, crashes=0, due_at=0, last_error=None, id=7),))


async def test_pending_messages_come_by_id_in_pages(store: RunnerStore) -> None:
    await commit(store, tuple(MESSAGE._replace(id=number) for number in (5, 3, 9, 7)))
    first = await store.messages.pending(after=0, limit=3, due_before=0)
    assert [row.id for row in first] == [3, 5, 7]
    rest = await store.messages.pending(after=7, limit=3, due_before=0)
    assert [row.id for row in rest] == [9]


async def test_a_delayed_message_is_pending_from_its_time_on(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=1, due_at=100), MESSAGE._replace(id=2)))
    assert [row.id for row in await store.messages.pending(after=0, limit=9, due_before=99)] == [2]
    assert [row.id for row in await store.messages.pending(after=0, limit=9, due_before=100)] == [1, 2]


async def test_pending_of_reads_one_entity(store: RunnerStore) -> None:
    mine = [MESSAGE._replace(id=number) for number in (1, 3, 5)]
    await commit(store, (*mine, MESSAGE._replace(id=2, entity_id="c-2"), MESSAGE._replace(id=4, due_at=100)))
    found = await store.messages.pending_of(CART, after=1, limit=9, due_before=0)
    assert [row.id for row in found] == [3, 5]
    assert [row.id for row in await store.messages.pending_of(CART, after=0, limit=1, due_before=0)] == [1]
    assert [row.id for row in await store.messages.pending_of(OTHER, after=0, limit=9, due_before=0)] == [2]


async def test_upcoming_messages_come_soonest_first(store: RunnerStore) -> None:
    due = {1: 300, 2: 100, 3: 200, 4: 0}
    await commit(store, tuple(MESSAGE._replace(id=number, due_at=at) for number, at in due.items()))
    assert [row.id for row in await store.messages.upcoming(due_after=0, limit=9)] == [2, 3, 1]
    assert [row.id for row in await store.messages.upcoming(due_after=100, limit=1)] == [3]


async def test_one_stored_message_holds_a_key(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=1, key="k"),))
    with pytest.raises(Conflict):
        await commit(store, (MESSAGE._replace(id=2, key="k"),))
    others = (
        MESSAGE._replace(id=3, key="k", method="other"),
        MESSAGE._replace(id=4, key="k", entity_id="c-2"),
        MESSAGE._replace(id=5),
        MESSAGE._replace(id=6),
    )
    await commit(store, others)
    held = await store.messages.by_key(CART, "checkout", "k")
    assert held is not None and held.id == 1


async def test_a_consumed_message_gives_its_key_up(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=1, key="k"),))
    await commit(store, (Consume(1), MESSAGE._replace(id=2, key="k")))
    held = await store.messages.by_key(CART, "checkout", "k")
    assert held is not None and held.id == 2


async def test_outcomes_are_found_by_key(store: RunnerStore) -> None:
    await commit(store, (DONE._replace(id=1, key="k"),))
    assert await store.messages.done_by_key(CART, "checkout", "k") == DONE._replace(id=1, key="k")
    assert await store.messages.done_by_key(OTHER, "checkout", "k") is None


async def test_a_refused_duplicate_is_not_the_outcome_of_its_key(store: RunnerStore) -> None:
    refused = DONE._replace(id=2, key="k", kind=OutcomeKind.KEY_CONFLICT)
    await commit(store, (DONE._replace(id=1, key="k"), refused))
    found = await store.messages.done_by_key(CART, "checkout", "k")
    assert found is not None and found.id == 1


async def test_a_timer_is_found_by_name_and_cancelled(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=1, name="tick", due_at=100),))
    found = await store.messages.timer(CART, "tick")
    assert found is not None and found.id == 1
    await commit(store, (TimerCancel("Cart", "c-1", "tick"),))
    assert await store.messages.timer(CART, "tick") is None
    assert await store.messages.by_id(1) is None


async def test_cancelling_a_timer_that_is_not_there_is_fine(store: RunnerStore) -> None:
    await commit(store, (TimerCancel("Cart", "c-1", "tick"),))


async def test_one_pending_timer_holds_a_name(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=1, name="tick", due_at=100),))
    with pytest.raises(Conflict):
        await commit(store, (MESSAGE._replace(id=2, name="tick", due_at=200),))


async def test_setting_a_timer_anew_replaces_it(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=1, name="tick", due_at=100),))
    await commit(store, (TimerCancel("Cart", "c-1", "tick"), MESSAGE._replace(id=2, name="tick", due_at=200)))
    found = await store.messages.timer(CART, "tick")
    assert found is not None and found.id == 2


async def test_a_timer_set_and_cancelled_by_units_of_one_batch_is_gone(store: RunnerStore) -> None:
    await commit(store, (MESSAGE._replace(id=1, name="tick", due_at=100),), (TimerCancel("Cart", "c-1", "tick"),))
    assert await store.messages.timer(CART, "tick") is None


async def test_a_timer_set_twice_by_units_of_one_batch_is_the_later_one(store: RunnerStore) -> None:
    first = MESSAGE._replace(id=1, name="tick", due_at=100, generation=1)
    again = MESSAGE._replace(id=2, name="tick", due_at=200, generation=2)
    await commit(store, (first,), (TimerCancel("Cart", "c-1", "tick"), again))
    assert await store.messages.timer(CART, "tick") == again


async def test_dead_letters_come_by_id_and_by_type(store: RunnerStore) -> None:
    letters = [DEAD._replace(id=number) for number in (3, 1)]
    await commit(store, (*letters, DEAD._replace(id=2, entity_type="Stock")))
    assert [row.id for row in await store.messages.dead(after=0, limit=9)] == [1, 2, 3]
    assert await store.messages.dead(after=1, limit=9, entity_type="Cart") == [DEAD._replace(id=3)]
    assert [row.id for row in await store.messages.dead(after=0, limit=2)] == [1, 2]


async def test_a_dead_letter_ends_once(store: RunnerStore) -> None:
    await commit(store, (DEAD._replace(id=7),))
    await commit(store, (DeadMessageEnd(7), MESSAGE._replace(id=8)))
    assert await store.messages.dead(after=0, limit=9) == []
    with pytest.raises(Conflict):
        await commit(store, (DeadMessageEnd(7), MESSAGE._replace(id=9)))
    assert await store.messages.by_id(9) is None


@pytest.mark.embedded
async def test_a_crash_is_counted_for_what_may_have_been_running(place: Place) -> None:
    """The first due message of each entity; of those that were near a crash before, only who had been started."""
    store = await place.open()
    await store.membership.register(REGISTRATION)
    rows = [
        MESSAGE._replace(id=1),
        MESSAGE._replace(id=2),
        MESSAGE._replace(id=3, entity_id="c-2", due_at=2**60),
        MESSAGE._replace(id=4, entity_id="c-2"),
        MESSAGE._replace(id=5, entity_type="Stock"),
    ]
    await commit(store, tuple(rows))
    expected = {1: (1, 2, 3, 3), 2: (0, 0, 0, 0), 3: (0, 0, 0, 0), 4: (1, 1, 1, 1), 5: (1, 1, 1, 1)}
    for crash in range(4):
        await store.close()
        store = await place.open()
        runner_id = await store.membership.register(REGISTRATION)
        for message, counts in expected.items():
            found = await store.messages.by_id(message)
            assert found is not None and (message, found.crashes) == (message, counts[crash])
        if crash < 2:
            started = pack_attempts([(1, crash + 1), (4, 0), (5, 7)])
            await commit(store, (StartRecord(9 + crash, runner_id, runner_id, started, 0),))
    await store.close()


async def test_no_crash_is_counted_where_the_last_runner_left_in_order(place: Place) -> None:
    store = await place.open()
    runner_id = await store.membership.register(REGISTRATION)
    await commit(store, (MESSAGE._replace(id=1),))
    await store.membership.leave(runner_id)
    await store.close()
    store = await place.open()
    await store.membership.register(REGISTRATION)
    found = await store.messages.by_id(1)
    assert found is not None and found.crashes == 0
    await store.close()
