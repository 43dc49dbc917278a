"""Where a test's data lies: it outlives the runners that are started on it, and can be as a dead runner left it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from holdfast.kit.clock import Clock
from holdfast.ports.store import RunnerStore
from holdfast.storage.memory.journal import StorageFaults
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.memory.tables import Tables
from holdfast.storage.open import open_runner_store
from holdfast.storage.urls import scheme, sqlite_path


class Place(Protocol):
    """A store's data."""

    async def open(self, clock: Clock) -> RunnerStore:
        """Raises StoreUnavailable, SchemaMismatch, ConfigurationError."""
        ...

    def freeze(self) -> Callable[[], None]:
        """Remembers the data as it is now; calling what is returned puts it back, while no store is open on it."""
        ...


def place_of(url: str, faults: StorageFaults | None) -> Place:
    """Raises ConfigurationError for what is no store's URL."""
    return MemoryPlace(faults) if scheme(url) == "memory" else SqlitePlace(url)


class MemoryPlace:
    """Tables in this process."""

    def __init__(self, faults: StorageFaults | None) -> None:
        self.tables = Tables()
        self._faults = faults

    async def open(self, clock: Clock) -> RunnerStore:
        return MemoryStore(clock=clock, tables=self.tables, faults=self._faults)

    def freeze(self) -> Callable[[], None]:
        frozen = self.tables.copy()

        def thaw() -> None:
            self.tables = frozen

        return thaw


class SqlitePlace:
    """A file."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = Path(sqlite_path(url))

    async def open(self, clock: Clock) -> RunnerStore:
        return await open_runner_store(self._url, clock=clock)

    def freeze(self) -> Callable[[], None]:
        # What a killed process leaves: the file and its write-ahead log. The log's index is made anew.
        kept = [(path, path.with_name(f"{path.name}.frozen")) for path in (self._path, self._beside("-wal"))]
        for path, copy in kept:
            if path.exists():
                shutil.copyfile(path, copy)

        def thaw() -> None:
            self._beside("-shm").unlink(missing_ok=True)
            for path, copy in kept:
                path.unlink(missing_ok=True)
                if copy.exists():
                    copy.rename(path)

        return thaw

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)
