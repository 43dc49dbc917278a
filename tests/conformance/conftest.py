"""Every test of this folder runs once per store; a further store adds a place of its own.

`embedded` tests are about a store that one process holds alone, `shared` ones about a store for many processes, and
`several` ones about several runners, which may share one process's memory too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from holdfast.model.unit import Row
from holdfast.ports.store import RunnerStore
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.memory.tables import Tables
from holdfast.storage.open import open_runner_store
from holdfast.storage.postgres import store as postgres
from tests.support.postgres import emptied_schema, servers

from .rows import REGISTRATION, unit

PATIENCE_S = 60.0


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

    random_batches: int

    async def open(self) -> RunnerStore: ...


class MemoryPlace:
    has_sql = False
    random_batches = 250

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.tables = Tables()

    async def open(self) -> RunnerStore:
        return MemoryStore(clock=self.clock, tables=self.tables)


class SharedMemoryPlace(MemoryPlace):
    """Several runners in one process, as in a simulation."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        super().__init__(folder, clock)
        self.tables = Tables(shared=True)


class SqlitePlace:
    has_sql = True
    random_batches = 250

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.url = f"sqlite:///{folder}/store.db"

    async def open(self) -> RunnerStore:
        return await open_runner_store(self.url, clock=self.clock)


class PostgresPlace:
    """A schema of its own on a server that others use too."""

    has_sql = True
    random_batches = 100  # of which each is compared by many reads, and a read is a trip

    def __init__(self, url: str, clock: ManualClock) -> None:
        self.clock = clock
        self.url = url

    async def open(self) -> RunnerStore:
        """With a server whose disk may take its time: these tests ask for answers, not for their moment."""
        usual = postgres.options(self.url, clock=self.clock)
        times = dict.fromkeys(("connect_s", "statement_s", "lock_s", "idle_in_transaction_s"), PATIENCE_S)
        return await postgres.open_runner(replace(usual, **times))


EMBEDDED: dict[str, Callable[[Path, ManualClock], Place]] = {"memory": MemoryPlace, "sqlite": SqlitePlace}
SEVERAL: dict[str, Callable[[Path, ManualClock], Place]] = {"shared memory": SharedMemoryPlace}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        embedded = sorted(SEVERAL) if "several" in marks else [] if "shared" in marks else sorted(EMBEDDED)
        shared = [] if "embedded" in marks else [pytest.param(name, marks=pytest.mark.postgres) for name in servers()]
        metafunc.parametrize("place", [*embedded, *shared], indirect=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Place]:
    name: str = request.param
    if name in EMBEDDED or name in SEVERAL:
        yield (EMBEDDED | SEVERAL)[name](tmp_path, clock)
        return
    async with emptied_schema(request.getfixturevalue("postgres_servers")(name)) as url:
        yield PostgresPlace(url, clock)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[RunnerStore]:
    """An open store, registered as its first runner."""
    opened = await place.open()
    await opened.membership.register(REGISTRATION)
    yield opened
    await opened.close()


@pytest.fixture
async def other(place: Place, store: RunnerStore) -> AsyncIterator[RunnerStore]:
    """A second runner on the same data, registered as number 2."""
    opened = await place.open()
    await opened.membership.register(REGISTRATION)
    yield opened
    await opened.close()


async def commit(store: RunnerStore, *units: tuple[Row, ...]) -> None:
    """Commits units given as tuples of rows, and waits where the store makes one wait."""
    waiting = store.journal.commit([unit(*rows) for rows in units])
    if waiting is not None:
        await waiting
