"""What must stay fast with millions of rows is read by index, and what is not keyed, delayed or named pays nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import apsw
import pytest

from holdfast.storage.sqlite import schema
from holdfast.storage.sqlite.connection import open_connection
from holdfast.storage.sqlite.store import STATEMENTS_PACKAGE
from holdfast.storage.statements import load_statements
from tests.conformance.rows import DONE, JOB, MESSAGE

SQL = load_statements(STATEMENTS_PACKAGE)

BY_INDEX = {
    "state": "holdfast_state_by_entity (entity_type=? AND entity_id=?)",
    "state_update": "holdfast_state_by_entity (entity_type=? AND entity_id=?)",
    "messages_pending": "INTEGER PRIMARY KEY (rowid>?)",
    "messages_pending_of": "holdfast_message_by_entity (entity_type=? AND entity_id=? AND rowid>?)",
    "messages_upcoming": "holdfast_message_delayed (due_at>?)",
    "message_by_key": "holdfast_message_by_key (entity_type=? AND entity_id=? AND method=? AND key=?)",
    "message_timer": "holdfast_message_by_name (entity_type=? AND entity_id=? AND name=?)",
    "timer_cancel": "holdfast_message_by_name (entity_type=? AND entity_id=? AND name=?)",
    "done_by_key": "holdfast_done_by_key (entity_type=? AND entity_id=? AND method=? AND key=?)",
    "jobs_available": "holdfast_job_available (shard=? AND priority=? AND rowid>?)",
    "jobs_filled": "holdfast_job_available (shard=? AND priority=? AND rowid>?)",
    "jobs_upcoming": "holdfast_job_delayed (due_at>?)",
    "job_by_key": "holdfast_job_by_key (job_type=? AND <expr>=? AND key=?)",
    "archived_by_key": "holdfast_job_archive_by_key (job_type=? AND <expr>=? AND key=?)",
    "jobs_live_page": "INTEGER PRIMARY KEY (rowid>?)",
    "jobs_archived_page": "INTEGER PRIMARY KEY (rowid>?)",
    "jobs_dead": "holdfast_job_dead (id>?)",
    "job_replay": "INTEGER PRIMARY KEY (rowid=?)",
    "prune_done_scan": "INTEGER PRIMARY KEY (rowid>?)",
}
UNSORTED = BY_INDEX.keys() - {"jobs_available", "messages_upcoming", "jobs_upcoming"}
"""Their order is the index's own: the first row costs as little as the index says. `upcoming` only breaks ties."""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    opened = open_connection(str(tmp_path / "store.db"), busy_s=1)
    schema.migrate(opened, 0)
    yield cast(apsw.Connection, opened)
    opened.close()


def plan(connection: apsw.Connection, name: str) -> list[str]:
    """A plan does not look at the values, but wants them all bound."""
    named = dict.fromkeys(re.findall(r":(\w+)", SQL[name]))
    numbered = [int(number or 1) for number in re.findall(r"\?(\d*)", SQL[name])]
    count = max(numbered, default=0) if max(numbered, default=0) > 1 else len(numbered)
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + SQL[name], named or [None] * count)]


@pytest.mark.parametrize("name", sorted(BY_INDEX))
def test_a_read_on_the_hot_path_goes_by_its_index(connection: apsw.Connection, name: str) -> None:
    steps = plan(connection, name)
    assert any(BY_INDEX[name] in step for step in steps), steps
    assert not [step for step in steps if step.startswith("SCAN holdfast")], steps
    if name in UNSORTED:
        assert not [step for step in steps if "TEMP B-TREE FOR ORDER BY" in step], steps


def test_plain_rows_lie_in_no_partial_index(connection: apsw.Connection) -> None:
    connection.execute(SQL["message_insert"], MESSAGE._replace(id=1))
    connection.execute(SQL["done_insert"], DONE._replace(id=1))
    connection.execute(SQL["job_insert"], JOB._replace(id=1))
    partial = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE sql LIKE '%WHERE%'")]
    assert len(partial) >= 8
    for name in set(partial) - {"holdfast_job_available"}:
        entries = connection.execute("SELECT sum(ncell) FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (name,))
        assert entries.fetchall() == [(0,)], name
