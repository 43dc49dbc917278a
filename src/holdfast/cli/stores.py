"""A store as a command uses it: opened as a client does, and never made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from holdfast.errors import ConfigurationError
from holdfast.ports.store import ClientStore
from holdfast.runtime.app import App
from holdfast.runtime.config import direct_store, store_is_pooled
from holdfast.settings import EntitySettings, Settings
from holdfast.storage.open import open_client_store

from .database import store_named

ANSWER_S = 10.0
"""Seconds for which an answer is waited for."""
LIMIT_MAX = 10_000
ID_MAX = 2**63 - 1


@asynccontextmanager
async def opened(store: str | None) -> AsyncGenerator[ClientStore, None]:
    """Raises ConfigurationError, StoreUnavailable for a store that is not there, and SchemaMismatch."""
    direct_url = direct_store() if store is None else None
    found = await open_client_store(store_named(store), direct_url=direct_url, pooled=store_is_pooled())
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def operator(store: str | None) -> AsyncGenerator[App, None]:
    """An App without types, whose client asks the runners of the store. Raises as `opened`."""
    app = App("operator", settings=Settings(entities=EntitySettings(call_timeout=ANSWER_S)))
    async with app.client(store=store_named(store)):
        yield app


def check_page(limit: int, after: int) -> None:
    """Raises ConfigurationError for what no list has."""
    if not 0 < limit <= LIMIT_MAX:
        raise ConfigurationError(f"--limit is between 1 and {LIMIT_MAX}, not {limit}")
    if not -1 <= after <= ID_MAX:
        raise ConfigurationError(f"--after is the number that a list ended with, not {after}")
