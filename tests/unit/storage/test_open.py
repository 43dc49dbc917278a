"""Stores by URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConfigurationError, StoreUnavailable
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.open import open_client_store, open_runner_store
from holdfast.storage.urls import masked, sqlite_path


def test_three_slashes_name_a_file_below_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_path("sqlite:///shop.db") == f"{tmp_path}/shop.db"
    assert sqlite_path("sqlite:///data/my%20shop.db") == f"{tmp_path}/data/my shop.db"


def test_four_slashes_name_a_file_by_its_full_path() -> None:
    assert sqlite_path("sqlite:////var/lib/shop.db") == "/var/lib/shop.db"


@pytest.mark.parametrize("url", ["shop.db", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x", "mysql://h/x", ""])
def test_other_urls_are_refused_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///relative\.db"):
        sqlite_path(url)


@pytest.mark.parametrize("url", ["postgres://u:secret@127.0.0.1:1/shop", "postgresql://u:secret@127.0.0.1:1/shop"])
async def test_a_database_that_does_not_answer_is_named_without_its_password(url: str) -> None:
    for opening in (open_runner_store(url), open_client_store(url)):
        with pytest.raises(StoreUnavailable, match="PostgreSQL") as caught:
            await opening
        assert "secret" not in str(caught.value)


async def test_a_missing_driver_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.storage.urls.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'holdfast\[postgres\]'"):
        await open_runner_store("postgresql://db/shop")


def test_a_password_is_masked() -> None:
    assert masked("mysql://u:secret@db/shop") == "mysql://u:***@db/shop"
    assert masked("postgresql://db/shop?password=secret&x=1") == "postgresql://db/shop?password=***&x=1"


async def test_a_memory_store_opens_and_has_no_clients() -> None:
    store = await open_runner_store("memory:")
    assert isinstance(store, MemoryStore)
    await store.close()
    with pytest.raises(ConfigurationError):
        await open_client_store("memory:")


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
async def test_unsafe_durability_needs_its_flag(tmp_path: Path, synchronous: str) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    with pytest.raises(ConfigurationError, match="unsafe_synchronous"):
        await open_runner_store(url, synchronous=synchronous)
    store = await open_runner_store(url, synchronous=synchronous, unsafe_synchronous=True)
    await store.close()


async def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        await open_runner_store(f"sqlite:///{tmp_path}/shop.db", synchronous="FULL; DROP", unsafe_synchronous=True)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for opening in (open_runner_store, open_client_store):
        with pytest.raises(StoreUnavailable, match="nowhere"):
            await opening(f"sqlite:///{tmp_path}/nowhere/shop.db")


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.write_bytes(b"just a text file, and a long one" * 100)
    with pytest.raises(StoreUnavailable, match="not an SQLite database"):
        await open_runner_store(f"sqlite:///{path}")
    assert path.read_bytes() == b"just a text file, and a long one" * 100
    (tmp_path / "shop.db").unlink()
    store = await open_runner_store(f"sqlite:///{path}")  # the failed one gave the lock up
    await store.close()
