"""What a simulation may do to the memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from holdfast.errors import PersistenceError
from holdfast.kit.clock import SystemClock
from holdfast.model.address import Address
from holdfast.model.unit import Unit
from holdfast.storage.memory.journal import StorageFaults
from holdfast.storage.memory.store import MemoryStore
from tests.conformance.rows import REGISTRATION, STATE, unit

CART = Address("Cart", "c-1")


def lose(units: Sequence[Unit]) -> None:
    raise PersistenceError("the disk is on fire", executed="unknown")


async def opened(faults: StorageFaults) -> MemoryStore:
    store = MemoryStore(clock=SystemClock(), faults=faults)
    await store.membership.register(REGISTRATION)
    return store


async def test_a_fault_before_the_commit_writes_nothing() -> None:
    store = await opened(StorageFaults(before_commit=lose))
    with pytest.raises(PersistenceError):
        store.journal.commit([unit(STATE)])
    assert await store.messages.state(CART) is None


async def test_a_fault_after_the_commit_has_written_all() -> None:
    store = await opened(StorageFaults(after_commit=lose))
    with pytest.raises(PersistenceError) as caught:
        store.journal.commit([unit(STATE)])
    assert caught.value.executed == "unknown"
    assert await store.messages.state(CART) is not None


async def test_latency_makes_commits_wait_one_after_another() -> None:
    store = await opened(StorageFaults(latency_s=lambda: 0.0))
    first, second = store.journal.commit([unit(STATE)]), store.journal.commit([unit(STATE._replace(version=2))])
    assert first is not None and second is not None
    assert await store.messages.state(CART) is None
    await asyncio.gather(first, second)
    assert await store.messages.state(CART) == (2, 1, b"state")


async def test_a_closed_store_refuses() -> None:
    store = await opened(StorageFaults())
    await store.close()
    with pytest.raises(PersistenceError):
        store.journal.commit([unit(STATE)])
    with pytest.raises(PersistenceError):
        await store.inbox.leave([])
