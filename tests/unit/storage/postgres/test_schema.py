"""Runners that start at once on an empty database: one makes the tables, the others find them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from holdfast.storage import migrations
from holdfast.storage.postgres import schema
from tests.support.postgres import fresh_schema

pytestmark = pytest.mark.postgres

PATIENCE_S = 30.0
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


async def test_of_several_that_wait_for_each_other_one_migrates(postgres_servers: Callable[[str], str]) -> None:
    """Each has looked before it waits: what it saw then must not be what it goes by afterwards."""
    async with fresh_schema(postgres_servers("postgres")) as url:
        first, onlooker = await asyncpg.connect(url), await asyncpg.connect(url)
        try:
            before = await onlooker.fetchval(WAITING)
            await first.execute("BEGIN")
            await first.fetch(schema._LOCK)
            others = [asyncio.ensure_future(migrations.apply(url)) for _ in range(3)]
            async with asyncio.timeout(PATIENCE_S):
                while await onlooker.fetchval(WAITING) < before + len(others):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
            await first.execute("COMMIT")
            applied = await asyncio.gather(*others)
        finally:
            await first.close()
            await onlooker.close()
        assert sorted(map(len, applied)) == [0, 0, len(schema.steps())]
        assert not await migrations.pending(url)
