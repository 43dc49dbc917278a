"""The inbox on a real server, where users' transactions are open as long as they like: naive forms and right ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import Conflict
from holdfast.model.inbox import InboxKind
from holdfast.model.message import MessageRow, Take
from holdfast.storage.postgres.store import PostgresRunnerStore

from .conftest import Database, unit

pytestmark = pytest.mark.postgres

MESSAGE = MessageRow(
    id=7, shard=0, entity_type="Cart", entity_id="c-1", method="add", payload=b"", payload_hash=b"", key="k",
    headers=None, due_at=0, name=None, every_us=0, generation=0, deliveries=0, crashes=0, last_error=None,
    created_at=1, admitted_by=1,
)  # fmt: skip
LEAVE = "INSERT INTO holdfast_inbox VALUES ($1, 0, 1, 'body', 1)"


async def leave_in_a_users_transaction(database: Database, number: int) -> Any:
    user = await database.connect()
    await user.execute("BEGIN")
    await user.execute(LEAVE, number)
    return user


async def inbox_ids(owner: PostgresRunnerStore) -> list[int]:
    return [row.id for row in await owner.inbox_reader.inbox(limit=9)]


async def test_naive_a_unique_key_makes_a_users_open_transaction_hold_the_owners_flush_up(database: Database) -> None:
    user, owner = await database.connect(), await database.connect()
    await database.admin.execute("CREATE TABLE naive_inbox (id bigint PRIMARY KEY, key text UNIQUE)")
    try:
        await user.execute("BEGIN")
        await user.execute("INSERT INTO naive_inbox VALUES (1, 'k')")
        flush = asyncio.ensure_future(owner.execute("INSERT INTO naive_inbox VALUES (2, 'k') ON CONFLICT DO NOTHING"))
        await database.until_blocked(owner.get_server_pid())
        await user.execute("ROLLBACK")
        await flush
    finally:
        await user.close()
        await database.admin.execute("DROP TABLE naive_inbox")


async def test_a_users_open_transaction_under_a_key_holds_no_flush_up(database: Database) -> None:
    owner = await database.runner()
    user = await leave_in_a_users_transaction(database, 1)  # of the same key, in its body
    await asyncio.wait_for(owner.journal.commit([unit(MESSAGE)]), 30)
    await owner.inbox.leave([(2, 0, InboxKind.MESSAGE, b"of the same key too")])
    await user.execute("COMMIT")
    assert await inbox_ids(owner) == [1, 2]


async def test_naive_a_mark_of_what_was_read_loses_an_id_that_commits_out_of_order(database: Database) -> None:
    early, late = [await leave_in_a_users_transaction(database, number) for number in (1, 2)]
    await late.execute("COMMIT")
    read = "SELECT id FROM holdfast_inbox WHERE id > $1 ORDER BY id"
    mark = max(row["id"] for row in await database.admin.fetch(read, 0))
    await early.execute("COMMIT")
    assert await database.admin.fetch(read, mark) == []
    assert await database.admin.fetchval("SELECT count(*) FROM holdfast_inbox WHERE id = 1") == 1


async def test_an_id_that_commits_out_of_order_is_read_all_the_same(database: Database) -> None:
    owner = await database.runner()
    early, late = [await leave_in_a_users_transaction(database, number) for number in (1, 2)]
    await late.execute("COMMIT")
    assert await inbox_ids(owner) == [2]
    await owner.journal.commit([unit(Take(2))])
    await early.execute("COMMIT")
    assert await inbox_ids(owner) == [1]


async def test_naive_what_is_only_marked_is_taken_by_two(database: Database) -> None:
    """The second one waits for the first and then marks the same row: both go on as if it were theirs."""
    first, second = await database.connect(), await database.connect()
    await database.admin.execute("CREATE TABLE naive_inbox (id bigint PRIMARY KEY, taken boolean)")
    try:
        await database.admin.execute("INSERT INTO naive_inbox VALUES (1, false)")
        mark = "UPDATE naive_inbox SET taken = true WHERE id = 1"
        await first.execute("BEGIN")
        assert await first.execute(mark) == "UPDATE 1"
        other = asyncio.ensure_future(second.execute(mark))
        await database.until_blocked(second.get_server_pid())
        await first.execute("COMMIT")
        assert await other == "UPDATE 1"
    finally:
        await database.admin.execute("DROP TABLE naive_inbox")


async def test_what_is_deleted_is_taken_by_one(database: Database) -> None:
    runners = [await database.runner(), await database.runner()]
    await runners[0].inbox.leave([(1, 0, InboxKind.MESSAGE, b"")])
    taking = [runner.journal.commit([unit(Take(1), MESSAGE._replace(id=7 + n))]) for n, runner in enumerate(runners)]
    outcomes = await asyncio.gather(*taking, return_exceptions=True)
    assert sorted(map(type, outcomes), key=str) == sorted([type(None), Conflict], key=str)
    assert await database.admin.fetchval("SELECT count(*) FROM holdfast_message") == 1
