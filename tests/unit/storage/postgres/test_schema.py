"""Runners that start at once on an empty database: one makes the tables, the others find them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from holdfast.errors import StoreUnavailable
from holdfast.storage import migrations
from holdfast.storage.open import open_client_store
from holdfast.storage.postgres import schema
from tests.support.postgres import fresh_schema

pytestmark = pytest.mark.postgres

AT_ONCE = 6


@pytest.mark.parametrize("_", range(3))
async def test_of_several_that_start_at_once_one_migrates(postgres_servers: Callable[[str], str], _: int) -> None:
    """Each has looked before it waits for the others: what it saw then must not be what it goes by afterwards."""
    async with fresh_schema(postgres_servers("postgres")) as url:
        applied = await asyncio.gather(*(migrations.apply(url) for _ in range(AT_ONCE)))
        assert sum(map(len, applied)) == len(schema.steps())
        assert not await migrations.pending(url)


async def test_a_client_makes_no_tables(postgres_servers: Callable[[str], str]) -> None:
    async with fresh_schema(postgres_servers("postgres")) as url:
        with pytest.raises(StoreUnavailable, match="holds no store yet; `holdfast run` or `holdfast db migrate`"):
            await open_client_store(url)
        assert not (await migrations.status(url)).applied
