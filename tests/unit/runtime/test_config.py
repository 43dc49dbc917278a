"""Where a node's configuration comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConfigurationError
from holdfast.runtime.config import resolve


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("HOLDFAST_STORE", "HOLDFAST_STORE_DIRECT", "HOLDFAST_STORE_POOLED"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_without_a_word_there_is_no_pooler() -> None:
    config = resolve("shop")
    assert (config.store_direct, config.store_pooled) == (None, False)


def test_the_environment_says_where_the_pooler_is_and_what_lies_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_STORE_POOLED", "1")
    monkeypatch.setenv("HOLDFAST_STORE_DIRECT", "postgresql://shop:secret@db/shop")
    config = resolve("shop", store="postgresql://shop@pooler/shop")
    assert (config.store_direct, config.store_pooled) == ("postgresql://shop:secret@db/shop", True)
    assert "secret" not in repr(config)


def test_pyproject_says_it_too_and_the_environment_wins(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = '[tool.holdfast]\nstore_pooled = true\nstore_direct = "postgresql://db/shop"\n'
    (somewhere / "pyproject.toml").write_text(words)
    assert (resolve("shop").store_direct, resolve("shop").store_pooled) == ("postgresql://db/shop", True)
    monkeypatch.setenv("HOLDFAST_STORE_POOLED", "no")
    assert not resolve("shop").store_pooled


def test_neither_yes_nor_no_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_STORE_POOLED", "perhaps")
    with pytest.raises(ConfigurationError, match="perhaps"):
        resolve("shop")
