"""The schema's history: in order, recorded, checked, and resumed after a crash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import apsw
import pytest

from holdfast.errors import ConfigurationError, SchemaMismatch, StoreUnavailable
from holdfast.storage import migrations
from holdfast.storage.open import open_client_store, open_runner_store
from holdfast.storage.sqlite import schema
from holdfast.storage.sqlite.connection import open_connection
from holdfast.storage.steps import Applied, Step, pending_steps


def step(number: int, sql: str) -> Step:
    return Step(number, f"{number:04}_step", hashlib.sha256(sql.encode()).hexdigest(), sql)


STEPS = [
    step(1, "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);"),
    step(2, "CREATE TABLE b (y TEXT) STRICT; UPDATE a SET x = x + 1;"),
    step(3, "CREATE INDEX b_by_y ON b (y);"),
]


def shape(path: Path) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
    finally:
        connection.close()


def recorded(*steps: Step) -> list[Applied]:
    return [Applied(s.number, s.name, s.checksum, 0) for s in steps]


def test_what_a_store_lacks_is_what_comes_after_what_it_has() -> None:
    assert pending_steps(STEPS, []) == STEPS
    assert pending_steps(STEPS, recorded(*STEPS[:2])) == STEPS[2:]
    assert pending_steps(STEPS, recorded(*STEPS)) == []


def test_a_newer_store_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match=r"0003_step.*upgrade"):
        pending_steps(STEPS[:2], recorded(*STEPS))


def test_an_altered_step_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="0002_step"):
        pending_steps(STEPS, recorded(STEPS[0], STEPS[1]._replace(checksum="other")))


async def test_a_fresh_schema_is_all_migrations_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = schema.steps()
    fresh = await open_runner_store(f"sqlite:///{tmp_path}/fresh.db")
    await fresh.close()
    for count in range(1, len(shipped) + 1):
        monkeypatch.setattr(schema, "steps", lambda count=count: shipped[:count])
        await migrations.apply(f"sqlite:///{tmp_path}/grown.db")
    assert shape(tmp_path / "fresh.db") == shape(tmp_path / "grown.db")


@pytest.mark.parametrize("broken", [1, 2, 3])
def test_a_step_that_fails_leaves_no_trace_and_is_applied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    """A crash in the middle of a step is a rollback of its transaction, as an error is."""
    torn = [s._replace(sql=s.sql + "; SELECT nonsense") if s.number == broken else s for s in STEPS]
    connection = open_connection(str(tmp_path / "store.db"), busy_s=1)
    monkeypatch.setattr(schema, "steps", lambda: torn)
    with pytest.raises(Exception, match="nonsense"):
        schema.migrate(connection, 5)
    assert [record.number for record in schema.applied(connection)] == list(range(1, broken))
    monkeypatch.setattr(schema, "steps", lambda: STEPS)
    assert [s.number for s in schema.migrate(connection, 6)] == list(range(broken, 4))
    assert connection.execute("SELECT x FROM a").fetchall() == [(2,)]
    assert schema.migrate(connection, 7) == []
    connection.close()


async def test_status_tells_what_is_applied_and_what_is_not(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    before = await migrations.status(url)
    assert (before.applied, [s.number for s in before.pending]) == ([], [s.number for s in schema.steps()])
    assert not (tmp_path / "store.db").exists()
    assert await migrations.apply(url) == schema.steps()
    after = await migrations.status(url)
    assert [record.name for record in after.applied] == [s.name for s in schema.steps()]
    assert await migrations.pending(url) == []
    assert await migrations.apply(url) == []


async def test_the_text_of_steps_names_them() -> None:
    text = migrations.sql(schema.steps())
    assert "0001_first_tables" in text
    assert "CREATE TABLE holdfast_job" in text


async def test_a_store_that_runs_is_not_migrated_from_outside(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = await open_runner_store(url)
    with pytest.raises(StoreUnavailable):
        await migrations.apply(url)
    await store.close()


async def test_a_store_altered_by_hand_does_not_open(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    await migrations.apply(url)
    connection = apsw.Connection(str(tmp_path / "store.db"))
    connection.execute("UPDATE holdfast_migration SET checksum = 'other'")
    connection.close()
    for opening in (open_runner_store, open_client_store):
        with pytest.raises(SchemaMismatch):
            await opening(url)
    with pytest.raises(SchemaMismatch):
        await migrations.status(url)


async def test_a_client_makes_no_store(tmp_path: Path) -> None:
    """Or a mistyped path would be a store of its own, whose inbox nobody reads."""
    typo = tmp_path / "typo.db"
    with pytest.raises(StoreUnavailable, match=r"typo\.db holds no store yet; `holdfast run`"):
        await open_client_store(f"sqlite:///{typo}")
    assert not typo.exists()
    connection = apsw.Connection(str(tmp_path / "other.db"))
    connection.execute("CREATE TABLE holdfast (x)")
    connection.close()
    with pytest.raises(StoreUnavailable, match="holds no store yet"):
        await open_client_store(f"sqlite:///{tmp_path}/other.db")


async def test_a_client_does_not_migrate_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    await migrations.apply(url)
    further = [*schema.steps(), step(len(schema.steps()) + 1, "CREATE TABLE more (x);")]
    monkeypatch.setattr(schema, "steps", lambda: further)
    with pytest.raises(SchemaMismatch, match="db migrate"):
        await open_client_store(url)
    runner = await open_runner_store(url)
    await runner.close()
    client = await open_client_store(url)
    await client.close()


async def test_memory_has_nothing_to_migrate() -> None:
    with pytest.raises(ConfigurationError):
        await migrations.status("memory:")
