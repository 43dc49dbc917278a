"""Simpler forms of the fence and its neighbours, with the harm that each does on a real server, beside the right ones.

The fence against a reaper stands in `test_interleavings`, the inbox in `test_inbox_rules`; docs/rules.md has them all.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import FencedOut
from holdfast.storage.postgres.sessions import WriteSession
from tests.support.membership import renew

from .conftest import STATE, Database, pid_of, unit, write

pytestmark = pytest.mark.postgres

FENCE_ROW = "SELECT FROM holdfast_fence WHERE runner_id = $1 AND slot = $2 FOR KEY SHARE"
WRITE_UNDER_EPOCH = """INSERT INTO holdfast_state SELECT 0, 'Cart', 'c-1', 1, 1, 'stale'
WHERE (SELECT epoch FROM holdfast_shard WHERE number = 0) = $1"""
REAP_AND_SCAN = """WITH reaped AS (DELETE FROM holdfast_runner WHERE expires_at < $1 RETURNING 1)
SELECT (SELECT count(*) FROM reaped), (SELECT count(*) FROM holdfast_state)"""
LONG_RESULT = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"


async def test_naive_an_epoch_in_a_subquery_lets_a_flush_commit_under_the_next_epoch(database: Database) -> None:
    owner, other, flush = await database.runner(), await database.runner(), await database.connect()
    await flush.execute("BEGIN")
    assert await flush.execute(WRITE_UNDER_EPOCH, 1) == "INSERT 0 1"
    ((_, number, now_owns, epoch),) = await owner.membership.hand_over(1, [0], 2)
    assert (number, now_owns, epoch) == (0, 2, 2)
    assert await other.messages.state(("Cart", "c-1")) is None  # what the next owner starts from
    await flush.execute("COMMIT")
    assert await database.states() == 1


async def test_naive_a_hand_over_beside_an_open_flush_hides_from_the_receiver_what_it_writes(
    database: Database,
) -> None:
    """The fence is for the dead: who hands over lives, and waits for its own flushes before it does."""
    owner, other = await database.runner(), await database.runner()
    session = await owner.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, STATE)
    assert len(await owner.membership.hand_over(1, [0], 2)) == 1
    assert await other.messages.state(("Cart", "c-1")) is None
    await session.connection.execute("COMMIT")
    owner.sessions.give_back(session)
    assert await other.messages.state(("Cart", "c-1")) is not None


async def test_naive_a_fence_that_shares_the_runners_row_holds_its_own_renewal_up(database: Database) -> None:
    owner, flush, lease = await database.runner(), await database.connect(), await database.connect()
    await flush.execute("BEGIN")
    await flush.execute("SELECT FROM holdfast_runner WHERE runner_id = 1 FOR SHARE")
    renewal = asyncio.ensure_future(lease.execute("UPDATE holdfast_runner SET expires_at = expires_at + 1"))
    await database.until_blocked(lease.get_server_pid())
    await flush.execute("ROLLBACK")
    await renewal
    assert await renew(owner, 1) is not None


async def test_a_flush_under_way_holds_no_renewal_up(database: Database) -> None:
    owner = await database.runner()
    session = await owner.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, STATE)
    assert await asyncio.wait_for(renew(owner, 1), 30) is not None
    await session.connection.execute("COMMIT")
    owner.sessions.give_back(session)


async def test_naive_one_fence_row_for_all_sessions_costs_a_multixact_where_two_flushes_overlap(
    database: Database,
) -> None:
    owner, first, second = await database.runner(), await database.connect(), await database.connect()
    session = await owner.sessions.take(1)
    for flush in (first, second):
        await flush.execute("BEGIN")
        await flush.fetch(FENCE_ROW, 1, session.slot)
    assert await lockers(database, session) == {await xid_of(first), await xid_of(second)}
    for flush in (first, second):
        await flush.execute("ROLLBACK")
    owner.sessions.give_back(session)


async def test_each_session_locks_a_fence_row_of_its_own(database: Database) -> None:
    owner = await database.runner()
    sessions = [await owner.sessions.take(1) for _ in range(2)]
    for number, session in enumerate(sessions):
        await session.connection.execute("BEGIN")
        await write(session, STATE._replace(entity_id=f"c-{number}"))
    assert sessions[0].slot != sessions[1].slot
    for session in sessions:
        query = "SELECT xmax::text::bigint FROM holdfast_fence WHERE slot = $1"
        assert await database.admin.fetchval(query, session.slot) == await xid_of(session.connection)
        await session.connection.execute("COMMIT")
        owner.sessions.give_back(session)


async def lockers(database: Database, session: WriteSession) -> set[int]:
    """The transactions in the multixact that stands in the session's fence row."""
    query = (
        "SELECT xid::text::bigint FROM holdfast_fence, pg_get_multixact_members(holdfast_fence.xmax) WHERE slot = $1"
    )
    return {row[0] for row in await database.admin.fetch(query, session.slot)}


async def xid_of(connection: Any) -> int:
    return int(await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")) % 2**32


async def test_naive_a_reaper_that_scans_in_the_statement_of_the_reap_misses_what_it_waited_for(
    database: Database,
) -> None:
    """Its snapshot is older than its wait. Hence claim, then scan, in later transactions."""
    owner, reaper = await database.runner(), await database.connect()
    session = await owner.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, STATE)
    await database.expire()
    reap = asyncio.ensure_future(reaper.fetchrow(REAP_AND_SCAN, database.clock.now))
    await database.until_blocked(reaper.get_server_pid())
    await session.connection.execute("COMMIT")
    owner.sessions.give_back(session)
    assert tuple(await reap) == (1, 0)
    assert await database.states() == 1


async def test_naive_a_fence_at_the_start_of_a_users_transaction_holds_the_reap_up(database: Database) -> None:
    owner, user, reaper = await database.runner(), await database.connect(), await database.connect()
    session = await owner.sessions.take(1)
    await user.execute("BEGIN")
    await user.fetch(FENCE_ROW, 1, session.slot)
    await database.expire()
    reap = asyncio.ensure_future(reaper.fetch(owner.sql["runner_reap"], database.clock.now, None))
    await database.until_blocked(reaper.get_server_pid())  # for as long as the user thinks
    await user.execute("ROLLBACK")
    assert [row["runner_id"] for row in await reap] == [1]
    owner.sessions.give_back(session)


class FrozenReader:
    """A writer that has written, and stands still in the middle of reading a result that no buffer holds."""

    def __init__(self, session: WriteSession) -> None:
        connection: Any = session.connection
        self.pid = pid_of(session)
        self._connection = connection
        self._reading: asyncio.Future[Any] | None = None

    async def freeze(self, database: Database) -> None:
        await self._connection.execute("BEGIN")
        statement = await self._connection.prepare(LONG_RESULT)
        self._connection._transport.pause_reading()
        self._reading = asyncio.ensure_future(statement.fetch())
        query = "SELECT wait_event = 'ClientWrite' FROM pg_stat_activity WHERE pid = $1"
        await database._until(query, self.pid)

    async def end(self) -> None:
        assert self._reading is not None
        self._connection.terminate()
        await asyncio.gather(self._reading, return_exceptions=True)


@pytest.mark.slow
async def test_naive_no_timeout_of_the_server_ends_a_frozen_reader(database: Database) -> None:
    """It is neither idle nor to be cancelled while it waits for its client: `tcp_user_timeout` or a reaper ends it."""
    owner, reaper = await database.runner(), await database.connect()
    session = await owner.sessions.take(1)
    await session.connection.execute("SET statement_timeout = '3s'; SET idle_in_transaction_session_timeout = '3s'")
    reader = FrozenReader(session)
    await reader.freeze(database)
    over = "SELECT clock_timestamp() - query_start > '4s' FROM pg_stat_activity WHERE pid = $1"
    await database._until(over, reader.pid)
    assert await reaper.fetchval("SELECT wait_event FROM pg_stat_activity WHERE pid = $1", reader.pid) == "ClientWrite"
    await reader.end()
    owner.sessions.give_back(session)


async def test_a_frozen_reader_that_holds_a_fence_is_ended_by_the_reaper(database: Database) -> None:
    owner, other = await database.runner(), await database.runner()
    session = await owner.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, STATE)
    reader = FrozenReader(session)
    await reader.freeze(database)
    await database.expire((other, 2))
    assert await asyncio.wait_for(other.membership.reap(), 10) == [1]
    await database.until_gone(reader.pid)
    await reader.end()
    owner.sessions.give_back(session)
    assert await database.states() == 0
    with pytest.raises(FencedOut):
        await owner.journal.commit([unit(STATE)])
