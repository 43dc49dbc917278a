"""A read beside a large backlog touches the pages of what it returns, whichever plan the statistics suggest."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from holdfast.storage.postgres.connection import session_settings
from holdfast.storage.postgres.store import STATEMENTS_PACKAGE, options
from holdfast.storage.statements import load_statements

from .conftest import Database

pytestmark = pytest.mark.postgres

ROWS = 20_000
EVER = 10**15
SOON = 1000
"""Few of the delayed rows are due by then: those that are have to be sorted."""
EMPTY = 99
"""A shard without a row, beside sixteen full ones."""
PAGES_OF_NOTHING = 40
PAGES_OF_A_ROW = 5
"""PostgreSQL 15 goes down the index for each id of a list."""

FILL = f"""
    INSERT INTO holdfast_job (
        id, shard, job_type, priority, payload, payload_hash, max_attempts, timeout_us, due_at, eligible_at,
        attempt, crashes, created_at, admitted_by
    )
    SELECT id, id % 16, 'work', 3, '', '', 5, 0, CASE WHEN id / 16 % 4 = 0 THEN id ELSE 0 END, 0, 0, 0, 0, 1
    FROM generate_series(1, {ROWS}) AS id;

    INSERT INTO holdfast_message (
        id, shard, entity_type, entity_id, method, payload, payload_hash, due_at, every_us, generation, deliveries,
        crashes, created_at, admitted_by
    )
    SELECT id, id % 16, 'Cart', 'c-' || id % 100, 'add', '', '', CASE WHEN id / 16 % 4 = 0 THEN id ELSE 0 END, 0, 0, 0,
        0, 0, 1
    FROM generate_series(1, {ROWS}) AS id;

    INSERT INTO holdfast_inbox (id, shard, kind, body, created_at)
    SELECT id, id % 16, 1, '', 0 FROM generate_series(1, {ROWS}) AS id;

    INSERT INTO holdfast_state (shard, entity_type, entity_id, version, schema, state)
    SELECT id % 16, 'Cart', 'c-' || id, 1, 1, '' FROM generate_series(1, {ROWS}) AS id;

    ANALYZE holdfast_job, holdfast_message, holdfast_inbox, holdfast_state;
"""
NOTHING: dict[str, Sequence[Any]] = {
    "jobs_available": (EMPTY, 3, 0, 1000, EVER),
    "jobs_filled": ([1, EMPTY], [0, 3], [0, 0], EVER),
    "jobs_upcoming": (0, 0, 100, [EMPTY]),
    "jobs_by_id": ([-1],),
    "job_by_key": ("work", None, "k-1"),
    "group_places": ([3],),
    "messages_pending": (0, EVER, 100, [EMPTY]),
    "messages_pending_of": ("Cart", "c-0815", 0, EVER, 100),
    "messages_upcoming": (0, 100, [EMPTY]),
    "message_timer": ("Cart", "c-1", "tick"),
    "message_by_key": ("Cart", "c-1", "add", "k-1"),
    "inbox": (100, [EMPTY]),
    "state": ("Cart", "nobody"),
}
HUNDRED: dict[str, Sequence[Any]] = {
    "jobs_available": (3, 3, 0, 100, SOON),
    "jobs_upcoming": (0, 0, 100, [3]),
    "messages_pending": (0, SOON, 100, [3]),
    "messages_pending_of": ("Cart", "c-7", 0, EVER, 100),
    "messages_upcoming": (0, 100, [3]),
    "inbox": (100, [3]),
    "states_of": ("Cart", "c-3", 100),
}
NAIVE = """
    SELECT payload FROM holdfast_job WHERE shard = $1 AND priority = $2 AND due_at = 0 AND id > $3 ORDER BY id LIMIT $4
"""
"""[M] With the order of the primary key asked for, the planner walks it in the hope of a match soon, unless it can
answer from the index alone, which a vacuum lets it do where no other column is asked for."""


class Readings:
    """A session with a reader's settings, and what a statement costs in it once its plan is made for any values."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def cost(self, sql: str, args: Sequence[Any]) -> tuple[int, int, str]:
        """Rows returned, pages touched, the plan."""
        await self._connection.execute(f"PREPARE reading AS {sql}")
        values = ", ".join(_literal(value) for value in args)
        (line,) = await self._connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) EXECUTE reading ({values})")
        await self._connection.execute("DEALLOCATE reading")
        plan = json.loads(line[0])[0]["Plan"]
        rows = int(plan["Actual Rows"] * plan["Actual Loops"])
        return rows, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], json.dumps(plan, indent=1)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return f"'{{{', '.join(map(str, value))}}}'"
    return f"'{value}'"


@pytest.fixture
async def full(database: Database) -> AsyncIterator[Readings]:
    await database.runner()
    await database.admin.execute(FILL)
    connection = await database.connect()
    for name, value in session_settings(options(database.url, clock=None), "read").items():
        await connection.execute(f"SET {name} = '{value}'")
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    yield Readings(connection)
    await connection.close()


async def test_what_is_not_there_is_not_looked_for_in_all_rows(full: Readings) -> None:
    sql = load_statements(STATEMENTS_PACKAGE)
    for name, args in NOTHING.items():
        rows, pages, plan = await full.cost(sql[name], args)
        assert rows == 0, name
        assert pages <= PAGES_OF_NOTHING, f"{name}: {pages} pages\n{plan}"


async def test_a_page_of_rows_costs_what_its_rows_cost(full: Readings) -> None:
    sql = load_statements(STATEMENTS_PACKAGE)
    for name, args in HUNDRED.items():
        rows, pages, plan = await full.cost(sql[name], args)
        assert rows == 100, name
        assert pages <= PAGES_OF_A_ROW * rows + PAGES_OF_NOTHING, f"{name}: {pages} pages\n{plan}"


async def test_these_bounds_are_broken_by_the_naive_wording(full: Readings) -> None:
    rows, pages, _ = await full.cost(NAIVE, NOTHING["jobs_available"][:4])
    assert rows == 0
    assert pages > PAGES_OF_NOTHING
