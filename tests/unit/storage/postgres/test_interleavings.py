"""The fence, the reaper and the slots against each other on a real server: the right form, and what the naive one does.

A naive test shows the harm that the rule prevents, so that nobody simplifies the rule away.
"""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import FencedOut
from holdfast.storage.postgres.faults import DRIVER_ERRORS
from tests.conformance.rows import END, JOB

from .conftest import STATE, Database, pid_of, unit, write

pytestmark = pytest.mark.postgres

NAIVE_FENCE = "SELECT 1 FROM holdfast_fence WHERE runner_id = $1 AND slot = $2"
NAIVE_WRITE = "INSERT INTO holdfast_state VALUES (0, 'Cart', 'c-1', 1, 1, 'stale')"
REAP_ALL = "DELETE FROM holdfast_runner WHERE expires_at < $1"


async def test_a_reap_waits_for_the_flush_under_way_and_then_sees_what_it_wrote(database: Database) -> None:
    owner, reaper = await database.runner(), await database.connect()
    session = await owner.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, STATE)
    await database.expire()
    reap = asyncio.ensure_future(reaper.fetch(owner.sql["runner_reap"], database.clock.now, None))
    await database.until_blocked(reaper.get_server_pid())
    await session.connection.execute("COMMIT")
    owner.sessions.give_back(session)
    assert [row["runner_id"] for row in await reap] == [1]
    assert await database.states() == 1


async def test_naive_a_fence_that_is_only_read_lets_a_flush_commit_after_the_take_over(database: Database) -> None:
    owner, flush, reaper = await database.runner(), await database.connect(), await database.connect()
    session = await owner.sessions.take(1)
    await flush.execute("BEGIN")
    assert await flush.fetch(NAIVE_FENCE, 1, session.slot)
    await flush.execute(NAIVE_WRITE)
    await database.expire()
    assert len(await reaper.fetch(owner.sql["runner_reap"], database.clock.now, None)) == 1  # nothing held it up
    next_owner = await database.runner()
    assert len(await next_owner.membership.shards()) == 1 and await database.states() == 0
    await flush.execute("COMMIT")
    assert await database.states() == 1  # behind the back of the next owner
    owner.sessions.give_back(session)


async def test_a_flush_behind_a_reap_waits_and_writes_nothing(database: Database) -> None:
    owner, reaper = await database.runner(), await database.connect()
    session = await owner.sessions.take(1)
    await database.expire()
    await reaper.execute("BEGIN")
    await reaper.fetch(owner.sql["runner_reap"], database.clock.now, None)
    flush = asyncio.ensure_future(write(session, STATE))
    await database.until_blocked(pid_of(session))
    await reaper.execute("COMMIT")
    with pytest.raises(FencedOut):
        await flush
    owner.sessions.give_back(session)
    assert await database.states() == 0


async def test_a_reap_that_is_taken_back_lets_the_flush_go_on(database: Database) -> None:
    owner, reaper = await database.runner(), await database.connect()
    session = await owner.sessions.take(1)
    await database.expire()
    await reaper.execute("BEGIN")
    await reaper.fetch(owner.sql["runner_reap"], database.clock.now, None)
    flush = asyncio.ensure_future(write(session, STATE))
    await database.until_blocked(pid_of(session))
    await reaper.execute("ROLLBACK")
    await flush
    owner.sessions.give_back(session)
    assert await database.states() == 1


async def test_naive_a_runner_that_is_only_marked_dead_goes_on_writing(database: Database) -> None:
    owner = await database.runner()
    await database.admin.execute("UPDATE holdfast_runner SET state = 'dead', expires_at = 0")
    await database.admin.execute("UPDATE holdfast_shard SET runner_id = NULL")
    await owner.journal.commit([unit(STATE)])
    assert await database.states() == 1


async def test_a_runner_whose_row_is_deleted_writes_no_more(database: Database) -> None:
    owner = await database.runner()
    await owner.journal.commit([])
    await database.admin.execute("DELETE FROM holdfast_runner")
    with pytest.raises(FencedOut):
        await owner.journal.commit([unit(STATE)])
    assert await database.states() == 0
    assert await database.admin.fetchval("SELECT count(runner_id) FROM holdfast_shard") == 0


async def test_naive_a_flush_that_a_broken_line_left_behind_commits_after_it_was_given_up(database: Database) -> None:
    owner = await database.runner()
    lost = await owner.sessions.take(1)  # what the server still has of a session whose client is gone
    await lost.connection.execute("BEGIN")
    await write(lost, STATE)
    assert await owner.messages.state(("Cart", "c-1")) is None  # "it failed", and the shard is handed over
    await lost.connection.execute("COMMIT")
    assert await owner.messages.state(("Cart", "c-1")) is not None
    owner.sessions.give_back(lost)


async def test_a_flush_that_was_left_behind_is_ended_before_its_outcome_is_told(database: Database) -> None:
    owner = await database.runner()
    lost = await owner.sessions.take(1)
    await lost.connection.execute("BEGIN")
    await write(lost, STATE)
    flushes = await owner.endings.slot_end(1, lost.slot)
    assert flushes is not None and flushes < lost.batch
    with pytest.raises(DRIVER_ERRORS):
        await lost.connection.execute("COMMIT")
    owner.sessions.give_back(lost)
    assert await database.states() == 0


async def test_a_flush_that_committed_without_its_answer_is_known_to_have_committed(database: Database) -> None:
    owner = await database.runner()
    lost = await owner.sessions.take(1)
    await write(lost, STATE)
    assert await owner.sessions.outcome(lost) is True
    owner.sessions.give_back(lost)


async def test_a_flush_that_arrives_after_its_slot_was_ended_writes_nothing(database: Database) -> None:
    owner = await database.runner()
    late = await owner.sessions.take(1)
    await owner.endings.slot_end(1, late.slot)
    with pytest.raises(FencedOut):
        await write(late, STATE)
    owner.sessions.give_back(late)
    assert await database.states() == 0


async def test_an_outcome_may_be_asked_for_again_after_a_lost_answer(database: Database) -> None:
    owner = await database.runner()
    lost = await owner.sessions.take(1)
    await write(lost, STATE)
    assert [await owner.endings.slot_end(1, lost.slot) for _ in range(3)] == [1, 1, 1]
    owner.sessions.give_back(lost)


async def test_a_slot_is_used_once(database: Database) -> None:
    owner = await database.runner()
    slots: list[int] = []
    for _ in range(3):
        session = await owner.sessions.take(1)
        slots.append(session.slot)
        session.connection.terminate()
        owner.sessions.give_back(session)
    assert len(set(slots)) == 3


async def test_naive_one_stuck_session_holds_up_the_reap_of_every_dead_runner(database: Database) -> None:
    stuck, other, reaper = await database.runner(), await database.runner(), await database.connect()
    session = await stuck.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, STATE)
    await database.expire()
    reap = asyncio.ensure_future(reaper.execute(REAP_ALL, database.clock.now))
    await database.until_blocked(reaper.get_server_pid())
    assert [row.runner_id for row in await other.membership.runners()] == [1, 2]
    await session.connection.execute("ROLLBACK")
    stuck.sessions.give_back(session)
    await reap


async def test_a_stuck_session_is_ended_and_both_dead_runners_are_reaped(database: Database) -> None:
    stuck, other, third = await database.runner(), await database.runner(), await database.runner()
    session = await stuck.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, STATE)
    await database.expire((third, 3))
    reaped = await asyncio.wait_for(third.membership.reap(), 30)
    assert sorted(reaped) == [1, 2]
    await database.until_gone(pid_of(session))
    stuck.sessions.give_back(session)
    assert await database.states() == 0
    with pytest.raises(FencedOut):
        await other.journal.commit([unit(STATE)])


async def test_while_one_reaper_waits_another_reaps_the_other_dead_runner(database: Database) -> None:
    stuck, _, third = await database.runner(), await database.runner(), await database.runner()
    waiting, session = await database.connect(), await stuck.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, STATE)
    await database.expire((third, 3))
    await database.admin.execute("UPDATE holdfast_runner SET expires_at = expires_at - 9 + runner_id")
    reap = asyncio.ensure_future(waiting.fetch(third.sql["runner_reap"], database.clock.now, None))
    await database.until_blocked(waiting.get_server_pid())
    assert await third.membership.reap() == [2]
    await session.connection.execute("ROLLBACK")
    stuck.sessions.give_back(session)
    assert len(await reap) == 1


async def test_an_open_transaction_of_a_user_holds_no_reap_up_and_is_fenced_out(database: Database) -> None:
    owner, third = await database.runner(), await database.runner()
    await database.admin.execute("CREATE TABLE mine (x integer)")
    try:
        transaction = await owner.journal.begin(timeout_s=60)
        await transaction.execute("INSERT INTO mine VALUES ($1)", 1)
        await database.expire((third, 2))
        assert await third.membership.reap() == [1]
        assert await transaction.fetch("SELECT x FROM mine") == [{"x": 1}]  # nobody ended it
        with pytest.raises(FencedOut):
            await transaction.commit(unit(STATE))
        assert await database.admin.fetchval("SELECT count(*) FROM mine") == 0
    finally:
        await database.admin.execute("DROP TABLE mine")


async def test_a_renewal_that_comes_while_the_reaper_looks_saves_the_runner(database: Database) -> None:
    owner, reaper = await database.runner(), await database.connect()
    await database.expire()
    await database.admin.execute("BEGIN")
    await database.admin.execute("UPDATE holdfast_runner SET expires_at = $1", database.clock.now + 1_000)
    assert await reaper.fetch(owner.sql["runner_reap"], database.clock.now, None) == []  # locked: passed over
    await database.admin.execute("COMMIT")
    assert await reaper.fetch(owner.sql["runner_reap"], database.clock.now, None) == []
    await owner.journal.commit([unit(STATE)])


async def test_a_new_job_does_not_take_the_key_of_one_that_ends_while_it_is_written(database: Database) -> None:
    """It waits at the unique index for the one that ends; the archive it can see does not hold the key yet."""
    owner = await database.runner()
    await owner.journal.commit([unit(JOB._replace(id=1, key="k"))])
    session, other = await owner.sessions.take(1), await owner.sessions.take(1)
    await session.connection.execute("BEGIN")
    await write(session, END._replace(id=1))
    insert = asyncio.ensure_future(write(other, JOB._replace(id=2, key="k")))
    waiting = asyncio.ensure_future(database.until_blocked(pid_of(other)))
    # It may be refused before it has to wait.
    await asyncio.wait([insert, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await session.connection.execute("COMMIT")
    with pytest.raises(DRIVER_ERRORS, match="job_keys_held"):
        await insert
    for one in (session, other):
        owner.sessions.give_back(one)
    assert await owner.jobs.live_by_key("send_receipt", None, "k") is None
