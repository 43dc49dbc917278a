"""A store as a command uses it: opened as a client does, and never made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from holdfast.errors import ConfigurationError, StoreUnavailable
from holdfast.ports.store import ClientStore
from holdfast.runtime.app import App
from holdfast.runtime.config import direct_store, store_is_pooled
from holdfast.settings import EntitySettings, Settings
from holdfast.storage import migrations
from holdfast.storage.open import open_client_store
from holdfast.storage.urls import masked

from .database import schema_named, store_named

ANSWER_S = 10.0
"""Seconds for which an answer is waited for."""
LIMIT_MAX = 10_000
ID_MAX = 2**63 - 1


@asynccontextmanager
async def opened(store: str | None) -> AsyncGenerator[ClientStore, None]:
    """Raises ConfigurationError, StoreUnavailable for a store that is not there, and SchemaMismatch."""
    await _there(store)
    direct_url = direct_store() if store is None else None
    found = await open_client_store(store_named(store), direct_url=direct_url, pooled=store_is_pooled())
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def operator(store: str | None) -> AsyncGenerator[App, None]:
    """An App without types, whose client asks the runners of the store. Raises as `opened`."""
    await _there(store)
    app = App("operator", settings=Settings(entities=EntitySettings(call_timeout=ANSWER_S)))
    async with app.client(store=store_named(store)):
        yield app


def check_page(limit: int, after: int) -> None:
    """Raises ConfigurationError for what no list has."""
    if not 0 < limit <= LIMIT_MAX:
        raise ConfigurationError(f"--limit is between 1 and {LIMIT_MAX}, not {limit}")
    if not -1 <= after <= ID_MAX:
        raise ConfigurationError(f"--after is the number that a list ended with, not {after}")


async def _there(store: str | None) -> None:
    if not (await migrations.status(schema_named(store))).applied:
        url = masked(store_named(store))
        raise StoreUnavailable(f"{url} holds no store yet; `holdfast run` or `holdfast db migrate` makes one")
