"""Every test of this folder runs once per store; a further store adds itself to `PLACES`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest

from holdfast.model.unit import Row
from holdfast.ports.store import RunnerStore
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.memory.tables import Tables
from holdfast.storage.open import open_runner_store

from .rows import REGISTRATION, unit


class ManualClock:
    """Time that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def now_us(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1_000_000


class Place(Protocol):
    """Where a store's data lives; outlives the stores opened on it."""

    has_sql: bool

    async def open(self) -> RunnerStore: ...


class MemoryPlace:
    has_sql = False

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.tables = Tables()

    async def open(self) -> RunnerStore:
        return MemoryStore(clock=self.clock, tables=self.tables)


class SqlitePlace:
    has_sql = True

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.url = f"sqlite:///{folder}/store.db"

    async def open(self) -> RunnerStore:
        return await open_runner_store(self.url, clock=self.clock)


PLACES: dict[str, Callable[[Path, ManualClock], Place]] = {"memory": MemoryPlace, "sqlite": SqlitePlace}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Place:
    return PLACES[request.param](tmp_path, clock)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[RunnerStore]:
    """An open store, registered as its first runner."""
    opened = await place.open()
    await opened.membership.register(REGISTRATION)
    yield opened
    await opened.close()


async def commit(store: RunnerStore, *units: tuple[Row, ...]) -> None:
    """Commits units given as tuples of rows, and waits where the store makes one wait."""
    waiting = store.journal.commit([unit(*rows) for rows in units])
    if waiting is not None:
        await waiting
