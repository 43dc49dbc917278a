"""Room on the disk: what jobs and messages leave behind is used again by those that come after them.

`benchmarks/bloat.py` asks the same of a million jobs and the server's own autovacuum.
"""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.model.message import Consume
from holdfast.model.unit import Row
from holdfast.storage.postgres.store import PostgresRunnerStore
from tests.conformance.rows import DONE, END, JOB, MESSAGE, unit

from .conftest import Database

pytestmark = pytest.mark.postgres

ROWS = 1_000
ROUNDS = 6
WARM = 3
"""Rounds until all is in use again: an index gives an emptied page to others only at the vacuum after the next."""
LATER = 1_000_000
TABLES = ("job", "job_archive", "message", "done", "start", "tally", "fence")
GROWTH_MAX = 1.1


async def a_round(store: PostgresRunnerStore, first: int) -> None:
    """So many jobs and messages come, end, and are forgotten."""
    numbers = range(first, first + ROWS)

    async def commit(*rows: Row) -> None:
        for place in range(0, len(rows), 250):
            waiting = store.journal.commit([unit(row) for row in rows[place : place + 250]])
            if waiting is not None:
                await waiting

    await commit(*(JOB._replace(id=number) for number in numbers))
    await commit(*(END._replace(id=number) for number in numbers))
    await commit(*(MESSAGE._replace(id=number) for number in numbers))
    await commit(*(Consume(number) for number in numbers), *(DONE._replace(id=number) for number in numbers))
    while await store.maintenance.prune(finished_before=LATER, limit=ROWS):
        pass


async def size(admin: Any) -> int:
    return sum([await admin.fetchval(f"SELECT pg_total_relation_size('holdfast_{table}')") for table in TABLES])


async def test_with_vacuum_the_tables_do_not_grow(database: Database) -> None:
    """Each round the vacuum is what autovacuum does: it gives room back to the tables, not to the disk."""
    store = await database.runner(shards=8)
    sizes = list[int]()
    for number in range(ROUNDS):
        await a_round(store, number * ROWS + 1)
        sizes.append(await size(database.admin))
        for table in TABLES:
            await database.admin.execute(f"VACUUM (TRUNCATE off) holdfast_{table}")
    assert max(sizes[WARM:]) < GROWTH_MAX * sizes[WARM - 1], sizes
    assert await database.admin.fetchval("SELECT count(*) FROM holdfast_job_archive") == 0


async def test_what_is_written_for_every_job_is_vacuumed_by_its_dead_rows(database: Database) -> None:
    """Not by their share of the table, which is next to empty whenever someone looks."""
    names = [f"holdfast_{table}" for table in ("job", "message", "start", "inbox", "fence", "runner")]
    rows = await database.admin.fetch("SELECT relname, reloptions FROM pg_class WHERE oid = ANY($1::regclass[])", names)
    assert len(rows) == 6
    for name, options in rows:
        assert "autovacuum_vacuum_scale_factor=0" in options, name
