"""The two dialects speak of the same things by the same names; plans do not read tables from end to end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.model.job import JobEnd, JobRetry, JobRow, StartRecord
from holdfast.model.message import Consume, DoneRow, MessageRetry, MessageRow, TimerCancel
from holdfast.model.unit import Row
from holdfast.storage.postgres.batch import layers
from holdfast.storage.postgres.parts import Statements, parts_of
from holdfast.storage.postgres.store import STATEMENTS_PACKAGE
from holdfast.storage.sqlite.store import STATEMENTS_PACKAGE as SQLITE_PACKAGE
from holdfast.storage.statements import load_statements

from .conftest import STATE, Database, unit

FOLDER = Path(__file__).parents[4] / "src/holdfast/storage"

ONLY_SQLITE = {
    "runner_id_take",  # an identity column counts incarnations
    "runners_reap",  # whoever registers holds the lock on the file: here each lease runs out by itself
    "shards_leave",  # a foreign key ends the ownership
    "starts_clear",  # other executors live
}
ONLY_POSTGRES = {
    "fence_mark", "slot_open", "slot_end", "slot_outcome", "session_pid", "session_evict", "runner_reap",
    "runner_hold", "groups_lock", "server", "inbox_leave", "inbox_notify", "message_keys_crossed", "job_keys_crossed",
    "now",
}  # fmt: skip


def test_both_dialects_have_the_same_names() -> None:
    sqlite, postgres = set(load_statements(SQLITE_PACKAGE)), set(load_statements(STATEMENTS_PACKAGE))
    assert sqlite - postgres == ONLY_SQLITE
    assert postgres - sqlite == ONLY_POSTGRES


def test_statements_of_one_name_stand_in_files_of_one_name() -> None:
    def places(dialect: str) -> dict[str, str]:
        files = (FOLDER / dialect / "statements").glob("*.sql")
        return {name: file.name for file in files for name in re.findall(r"(?m)^-- (\w+):", file.read_text())}

    sqlite, postgres = places("sqlite"), places("postgres")
    elsewhere = {name for name in sqlite.keys() & postgres.keys() if sqlite[name] != postgres[name]}
    assert elsewhere == {"ids_allocate"}  # no write of a batch here


@pytest.mark.postgres
@pytest.mark.parametrize(
    "rows",
    [
        (Consume(1), Consume(2)),
        (TimerCancel("Cart", "c", "tick"),),
        (STATE._replace(version=2),),
        (MessageRetry(1, 0, 5, None, 1),),
        (JobRetry(1, 0, 5, 5, None, 1, 0),),
        (JobEnd(1, 0, "completed", None, None, None, 1, 5, 1),),
    ],
)
@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_batch_is_planned_by_index_even_where_the_tables_are_empty(
    database: Database, rows: tuple[Row, ...], analyzed: bool
) -> None:
    """A prepared plan outlives the moment: the one for an empty table must do for a full one."""
    owner = await database.runner()
    session = await owner.sessions.take(1)
    (layer,) = layers([unit(*rows)])
    text = Statements(owner.sql).of(parts_of(layer))
    count = max(int(number) for number in re.findall(r"\$(\d+)", text))
    if analyzed:  # as autovacuum may do at any moment
        await session.connection.execute("ANALYZE holdfast_message, holdfast_state, holdfast_job")
    await session.connection.execute("SET plan_cache_mode = force_generic_plan")
    await session.connection.execute(f"PREPARE batch AS {text}")
    plan = await session.connection.fetch(f"EXPLAIN EXECUTE batch ({', '.join(['NULL'] * count)})")
    await session.connection.execute("DEALLOCATE batch; RESET plan_cache_mode")
    owner.sessions.give_back(session)
    found = "\n".join(line[0] for line in plan)
    assert not re.search(r"Seq Scan on|Nested Loop", found), found
    assert re.search(r"Index Cond: .*= ANY", found), found


def test_every_type_of_row_writes_through_named_statements() -> None:
    names = {part.name for row in (MessageRow, DoneRow, JobRow, StartRecord) for part in _parts(row)}
    assert names == {"message_insert", "done_insert", "job_insert", "start_insert"}


def _parts(kind: type[MessageRow] | type[DoneRow] | type[JobRow] | type[StartRecord]) -> list[object]:
    row = kind(*([1] * len(kind._fields)))  # type: ignore[call-overload]
    if isinstance(row, MessageRow | JobRow):
        row = row._replace(last_error=None)
    return list(parts_of(layers([unit(row)])[0]))
