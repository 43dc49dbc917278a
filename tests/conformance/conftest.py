"""Every test of this folder runs once per store; a further store adds a place of its own.

`embedded` tests are about a store that one process holds alone, `shared` ones about a store for many.
"""

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
from tests.support.postgres import drop_schema, fresh_schema_name, given_url, make_schema, with_schema

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

    async def remove(self) -> None: ...


class MemoryPlace:
    has_sql = False

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.tables = Tables()

    async def open(self) -> RunnerStore:
        return MemoryStore(clock=self.clock, tables=self.tables)

    async def remove(self) -> None: ...


class SqlitePlace:
    has_sql = True

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.url = f"sqlite:///{folder}/store.db"

    async def open(self) -> RunnerStore:
        return await open_runner_store(self.url, clock=self.clock)

    async def remove(self) -> None: ...


class PostgresPlace:
    """A schema of its own on a server that others use too."""

    has_sql = True

    def __init__(self, server: str, clock: ManualClock) -> None:
        self.clock = clock
        self.server = server
        self.schema = fresh_schema_name()
        self.url = with_schema(server, self.schema)
        self._made = False

    async def open(self) -> RunnerStore:
        if not self._made:
            await make_schema(self.server, self.schema)
            self._made = True
        return await open_runner_store(self.url, clock=self.clock)

    async def remove(self) -> None:
        await drop_schema(self.server, self.schema)


EMBEDDED: dict[str, Callable[[Path, ManualClock], Place]] = {"memory": MemoryPlace, "sqlite": SqlitePlace}
SHARED = ["postgres", *(["postgres-given"] if given_url() else [])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        embedded = [] if "shared" in marks else sorted(EMBEDDED)
        shared = [] if "embedded" in marks else [pytest.param(name, marks=pytest.mark.postgres) for name in SHARED]
        metafunc.parametrize("place", [*embedded, *shared], indirect=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Place]:
    name: str = request.param
    made: Place
    if name in EMBEDDED:
        made = EMBEDDED[name](tmp_path, clock)
    else:
        made = PostgresPlace(given_url() or "" if name == "postgres-given" else _server(request), clock)
    yield made
    await made.remove()


def _server(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("postgres_server")
    return url


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
