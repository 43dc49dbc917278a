"""Entity states: saved by version, never over another's save."""

from __future__ import annotations

import pytest

from holdfast.errors import Conflict
from holdfast.model.address import Address
from holdfast.ports.store import RunnerStore

from .conftest import commit
from .rows import DONE, STATE

CART = Address("Cart", "c-1")


async def test_a_state_that_was_never_saved_is_none(store: RunnerStore) -> None:
    assert await store.messages.state(CART) is None


async def test_a_state_is_saved_and_replaced_version_by_version(store: RunnerStore) -> None:
    await commit(store, (STATE,))
    assert await store.messages.state(CART) == (1, 1, b"state")
    await commit(store, (STATE._replace(version=2, schema=4, state=b"later"),))
    assert await store.messages.state(CART) == (2, 4, b"later")


async def test_states_of_entities_do_not_touch(store: RunnerStore) -> None:
    await commit(store, (STATE, STATE._replace(entity_id="c-2", state=b"two")))
    await commit(store, (STATE._replace(entity_type="Stock", state=b"stock"),))
    assert await store.messages.state(CART) == (1, 1, b"state")
    assert await store.messages.state(Address("Cart", "c-2")) == (1, 1, b"two")
    assert await store.messages.state(Address("Stock", "c-1")) == (1, 1, b"stock")


async def test_the_states_of_a_type_are_read_in_pages(store: RunnerStore) -> None:
    ids = ["a", "b", "c", "d"]
    await commit(store, tuple(STATE._replace(entity_id=one, state=one.encode()) for one in reversed(ids)))
    await commit(store, (STATE._replace(entity_type="Stock", entity_id="b"),))
    first = await store.messages.states_of("Cart", after="", limit=3)
    assert first == [(one, (1, 1, one.encode())) for one in ids[:3]]
    assert await store.messages.states_of("Cart", after="c", limit=3) == [("d", (1, 1, b"d"))]
    assert await store.messages.states_of("Nothing", after="", limit=3) == []


@pytest.mark.parametrize("version", [1, 2, 4])
async def test_a_save_that_does_not_follow_the_stored_version_is_a_conflict(store: RunnerStore, version: int) -> None:
    await commit(store, (STATE,), (STATE._replace(version=2),))
    with pytest.raises(Conflict):
        await commit(store, (STATE._replace(version=version, state=b"lost"), DONE._replace(id=1)))
    assert await store.messages.state(CART) == (2, 1, b"state")
    assert await store.messages.done(1) is None


async def test_a_later_version_without_a_first_is_a_conflict(store: RunnerStore) -> None:
    with pytest.raises(Conflict):
        await commit(store, (STATE._replace(version=2),))


async def test_one_batch_may_save_an_entity_twice_and_the_last_wins(store: RunnerStore) -> None:
    await commit(store, (STATE,), (STATE._replace(version=2, state=b"b"),), (STATE._replace(version=3, state=b"c"),))
    assert await store.messages.state(CART) == (3, 1, b"c")


async def test_versions_of_one_batch_in_the_wrong_order_are_a_conflict(store: RunnerStore) -> None:
    with pytest.raises(Conflict) as caught:
        await commit(store, (STATE._replace(version=2),), (STATE,))
    assert caught.value.unit_index == 0
    assert await store.messages.state(CART) is None


async def test_a_conflict_names_the_unit_to_blame_and_nothing_is_written(store: RunnerStore) -> None:
    fine = STATE._replace(entity_id="c-2")
    with pytest.raises(Conflict) as caught:
        await commit(store, (fine,), (STATE,), (STATE,), (STATE._replace(entity_id="c-3"),))
    assert caught.value.unit_index == 2
    assert await store.messages.state(Address("Cart", "c-2")) is None


async def test_ids_that_are_hard_to_store_come_back_as_they_were(store: RunnerStore) -> None:
    for odd in ("späti", "a'b\"c", "\U0001f6d2", " ", "x" * 512):
        await commit(store, (STATE._replace(entity_id=odd, state=odd.encode()),))
        assert await store.messages.state(Address("Cart", odd)) == (1, 1, odd.encode())
