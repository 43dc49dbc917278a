"""A second SQLite library in the process is refused, for open stores only."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from holdfast.errors import UsageError
from holdfast.storage.open import open_client_store, open_runner_store


def connect(database: object, *, uri: bool = False) -> None:
    contextlib.closing(sqlite3.connect(database, uri=uri)).__exit__(None, None, None)  # type: ignore[arg-type]


async def test_an_open_store_is_closed_to_the_standard_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    (tmp_path / "link.db").symlink_to(path)
    store = await open_runner_store(f"sqlite:///{path}")
    monkeypatch.chdir(tmp_path)
    for name in (str(path), path, b"store.db", "store.db", "link.db", "./../" + tmp_path.name + "/store.db"):
        with pytest.raises(UsageError, match=r"self\.transaction"):
            connect(name)
    with pytest.raises(UsageError):
        connect(f"file:{path}?mode=ro", uri=True)
    await store.close()
    connect(path)


async def test_other_files_are_nobodys_business(tmp_path: Path) -> None:
    store = await open_runner_store(f"sqlite:///{tmp_path}/store.db")
    connect(tmp_path / "other.db")
    connect(":memory:")
    await store.close()


async def test_the_file_is_guarded_until_the_last_store_is_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    runner, client = await open_runner_store(url), await open_client_store(url)
    await runner.close()
    with pytest.raises(UsageError):
        connect(tmp_path / "store.db")
    await client.close()
    connect(tmp_path / "store.db")
