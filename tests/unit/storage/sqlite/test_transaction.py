"""The user's own SQL in a handler's transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from holdfast.errors import PersistenceError, UsageError
from holdfast.ports.store import RunnerStore
from holdfast.storage.open import open_runner_store
from holdfast.storage.sqlite.transaction import InteractiveTransaction
from tests.conformance.rows import REGISTRATION, STATE, unit

RECURSIVE = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RunnerStore]:
    opened = await open_runner_store(f"sqlite:///{tmp_path}/store.db")
    await opened.membership.register(REGISTRATION)
    transaction = await opened.journal.begin(timeout_s=60)
    await transaction.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE)")
    await transaction.commit(unit())
    yield opened
    await opened.close()


async def orders(store: RunnerStore) -> list[object]:
    transaction = await store.journal.begin(timeout_s=60)
    rows = await transaction.fetch("SELECT sku FROM orders ORDER BY id")
    await transaction.rollback()
    return [row["sku"] for row in rows]


async def test_the_users_rows_commit_with_the_unit(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    assert await transaction.execute("INSERT INTO orders (sku) VALUES (?), (?)", "apple", "pear") == 2
    assert await transaction.fetch("SELECT id, sku FROM orders WHERE sku = ?", "pear") == [{"id": 2, "sku": "pear"}]
    await transaction.commit(unit(STATE))
    assert await orders(store) == ["apple", "pear"]
    assert await store.ledger.ledger() is not None


async def test_a_rollback_takes_the_users_rows_back(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    await transaction.execute("INSERT INTO orders (sku) VALUES ('apple')")
    await transaction.rollback()
    assert await orders(store) == []


async def test_a_unit_that_conflicts_takes_the_users_rows_back(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    await transaction.execute("INSERT INTO orders (sku) VALUES ('apple')")
    with pytest.raises(PersistenceError):
        await transaction.commit(unit(STATE._replace(version=2)))
    assert await orders(store) == []


async def test_execute_counts_changed_rows_only(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    await transaction.execute("INSERT INTO orders (sku) VALUES ('apple')")
    assert await transaction.execute("SELECT * FROM orders") == 0
    assert await transaction.execute("UPDATE orders SET sku = 'x' WHERE sku = 'nothing'") == 0
    assert await transaction.fetch("SELECT * FROM orders WHERE sku = 'nothing'") == []
    await transaction.rollback()


async def test_an_error_of_the_users_statement_is_the_users_to_handle(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    await transaction.execute("INSERT INTO orders (sku) VALUES ('apple')")
    with pytest.raises(apsw.ConstraintError):
        await transaction.execute("INSERT INTO orders (sku) VALUES ('apple')")
    with pytest.raises(apsw.SQLError):
        await transaction.execute("INSRT INTO orders")
    await transaction.execute("INSERT INTO orders (sku) VALUES ('pear')")
    await transaction.commit(unit())
    assert await orders(store) == ["apple", "pear"]


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "PRAGMA synchronous = OFF",
        "DELETE FROM holdfast_job",
        "UPDATE holdfast_state SET version = 9",
        "INSERT INTO holdfast_start VALUES (1, 1, 1, x'', 1)",
        "DROP TABLE holdfast_done",
        "ATTACH ':memory:' AS other",
    ],
)
async def test_a_statement_may_not_break_the_transaction_or_our_tables(store: RunnerStore, statement: str) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    with pytest.raises(UsageError):
        await transaction.execute(statement)
    await transaction.execute("INSERT INTO orders (sku) VALUES ('apple')")
    await transaction.commit(unit())
    assert await orders(store) == ["apple"]


async def test_foreign_keys_of_the_users_tables_hold(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    await transaction.execute("CREATE TABLE line (order_id INTEGER NOT NULL REFERENCES orders (id))")
    with pytest.raises(apsw.ConstraintError):
        await transaction.execute("INSERT INTO line VALUES (99)")
    await transaction.rollback()


async def test_savepoints_are_the_users_to_use(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    for statement in ("SAVEPOINT s", "INSERT INTO orders (sku) VALUES ('apple')", "ROLLBACK TO s", "RELEASE s"):
        await transaction.execute(statement)
    await transaction.commit(unit())
    assert await orders(store) == []


async def test_native_is_the_drivers_connection_and_nothing_else(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    transaction.native(apsw.Connection).execute("INSERT INTO orders (sku) VALUES ('apple')")
    with pytest.raises(UsageError, match=r"apsw\.Connection"):
        transaction.native(int)
    await transaction.commit(unit())
    assert await orders(store) == ["apple"]


async def test_readers_do_not_see_an_open_transaction(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    connection = transaction.native(apsw.Connection)
    assert connection.in_transaction
    reading = asyncio.ensure_future(store.ledger.ledger())
    await transaction.execute("INSERT INTO orders (sku) VALUES ('apple')")
    assert (await reading).jobs == ()
    await transaction.rollback()


async def test_a_slow_statement_does_not_hold_the_loop_and_ends_with_its_time(store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=0.05)
    slow = asyncio.ensure_future(transaction.fetch(RECURSIVE))
    await asyncio.sleep(0)
    assert not slow.done()
    with pytest.raises(PersistenceError):
        await asyncio.wait_for(slow, 30)
    with pytest.raises(PersistenceError, match="open for more than"):
        await transaction.execute("INSERT INTO orders (sku) VALUES ('late')")
    assert await orders(store) == []


async def test_a_statement_that_begins_after_its_time_ends_too(store: RunnerStore) -> None:
    """There is nothing to interrupt yet when the time is over, and it would keep everybody else from writing."""
    transaction = await store.journal.begin(timeout_s=0.05)
    assert isinstance(transaction, InteractiveTransaction)
    gate = threading.Event()
    held_up = transaction._where.submit(gate.wait)  # pyright: ignore[reportPrivateUsage]
    slow = asyncio.ensure_future(transaction.fetch(RECURSIVE))
    with pytest.raises(PersistenceError, match="open for more than"):
        while True:
            transaction.native(apsw.Connection)
            await asyncio.sleep(0.005)
    gate.set()
    with pytest.raises(PersistenceError):
        await asyncio.wait_for(slow, 30)
    await held_up
    assert await orders(store) == []


async def test_cancelling_the_wait_for_a_turn_leaves_the_turn_free(store: RunnerStore) -> None:
    first = await store.journal.begin(timeout_s=60)
    second = asyncio.ensure_future(store.journal.begin(timeout_s=60))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await first.rollback()
    assert store.journal.commit([unit(STATE)]) is None


async def test_cancelling_while_it_begins_leaves_the_turn_free(store: RunnerStore) -> None:
    opening = asyncio.ensure_future(store.journal.begin(timeout_s=60))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await asyncio.wait_for(store.ids.allocate(1), 30)
    assert store.journal.commit([unit(STATE)]) is None


async def test_closing_the_store_takes_an_open_transaction_back(tmp_path: Path, store: RunnerStore) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    await transaction.execute("INSERT INTO orders (sku) VALUES ('apple')")
    await store.close()
    with pytest.raises(PersistenceError, match="closed"):
        await transaction.commit(unit())
    again = await open_runner_store(f"sqlite:///{tmp_path}/store.db")
    await again.membership.register(REGISTRATION)
    assert await orders(again) == []
    await again.close()
