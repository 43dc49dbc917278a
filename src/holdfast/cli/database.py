"""`holdfast db`: a store's schema, without an App."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from holdfast.errors import ConfigurationError
from holdfast.model.ids import SECOND_US
from holdfast.runtime.config import chosen_store, direct_store
from holdfast.storage import migrations
from holdfast.storage.urls import masked

from .exits import Exit
from .plain import shown


def store_named(store: str | None) -> str:
    """The URL to use, without an App to name a default. Raises ConfigurationError where nobody says which."""
    url, source = chosen_store(store)
    if not source:
        raise ConfigurationError("which store? Give --store sqlite:///<file>, or set HOLDFAST_STORE")
    return url


def schema_named(store: str | None) -> str:
    """The URL to look at the schema with, which is the one past a pooler where there is one."""
    url = store_named(store)
    return direct_store() or url if store is None else url


def migrate_store(store: str | None) -> Exit:
    """Raises StoreUnavailable while a runner holds the store, and SchemaMismatch for a newer or altered schema."""
    url = schema_named(store)
    done = asyncio.run(migrations.apply(url))
    for step in done:
        print(f"applied {step.name}")
    print(f"{shown(masked(url))} is up to date" + ("" if done else ", nothing to do"))
    return Exit.OK


def show_migrations(store: str | None, *, as_json: bool) -> Exit:
    """FAILED where migrations are missing, so that a script can ask."""
    url = schema_named(store)
    found = asyncio.run(migrations.status(url))
    if as_json:
        applied = [{"name": one.name, "applied_at": one.applied_at / SECOND_US} for one in found.applied]
        pending = [one.name for one in found.pending]
        print(json.dumps({"store": masked(url), "applied": applied, "pending": pending}))
    else:
        print(shown(masked(url)))
        for one in found.applied:
            moment = datetime.fromtimestamp(one.applied_at // SECOND_US, UTC)
            print(f"  applied  {shown(one.name)}  {moment:%Y-%m-%d %H:%M:%SZ}")
        for step in found.pending:
            print(f"  missing  {step.name}")
    return Exit.FAILED if found.pending else Exit.OK


def print_sql(store: str | None) -> Exit:
    """To standard output, for another tool or for reading."""
    print(migrations.sql(asyncio.run(migrations.pending(schema_named(store)))), end="")
    return Exit.OK
