"""The server goes away, at the worst moments; outcomes are told as they are, and the store comes back by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import FencedOut, PersistenceError, StoreUnavailable
from holdfast.model.address import Address
from holdfast.model.inbox import InboxKind
from holdfast.storage.postgres import connection, store
from holdfast.storage.postgres.connection import PostgresOptions, open_at_start
from holdfast.storage.postgres.store import PostgresRunnerStore, open_runner
from tests.support.membership import renew

from .conftest import STATE, Database, pid_of, unit

pytestmark = pytest.mark.postgres

CART = Address("Cart", "c-1")


async def end_sessions(database: Database) -> None:
    """What a restart of the server does to its clients."""
    await database.admin.execute(
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'holdfast%'"
    )


async def test_everything_goes_on_after_all_sessions_were_ended(database: Database) -> None:
    owner = await database.runner()
    await owner.journal.commit([unit(STATE)])
    transaction = await owner.journal.begin(timeout_s=60)
    await transaction.commit(unit(STATE._replace(version=2)))
    for version in (3, 4, 5):
        await end_sessions(database)
        assert await owner.messages.state(CART) == (version - 1, 1, b"state")
        await owner.journal.commit([unit(STATE._replace(version=version))])
        await owner.inbox.leave([(version, 0, InboxKind.JOB, b"")])
        assert await renew(owner, 1)
    transaction = await owner.journal.begin(timeout_s=60)
    await transaction.commit(unit(STATE._replace(version=6)))
    assert len(await owner.inbox_reader.inbox(limit=9)) == 3


async def commit_unheard(database: Database, owner: PostgresRunnerStore) -> asyncio.Future[None]:
    """A commit that reaches the server and is durable there, while its answer does not come back."""
    await owner.journal.commit([unit(STATE._replace(entity_id="c-2"))])  # so that its statement is prepared
    session = await owner.sessions.take(1)
    deafen(session.connection)
    owner.sessions.give_back(session)
    committing = asyncio.ensure_future(owner.journal.commit([unit(STATE)]))
    await database.until_states(2)
    return committing


def deafen(line: Any) -> None:
    """It lives and takes what is sent; nothing comes back on it. No operating system ends such a line."""
    line._transport.pause_reading()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """This side soon gives up waiting for an answer; the server has its usual time."""
    monkeypatch.setattr(connection, "_ANSWER_GRACE_S", 2.0 - PostgresOptions(url="").statement_s)


@pytest.mark.usefixtures("impatient")
async def test_a_read_whose_answer_never_comes_is_asked_again_on_another_line(database: Database) -> None:
    owner = await database.runner()
    await owner.journal.commit([unit(STATE)])
    async with owner.pool.take() as line:
        deafen(line)
    assert await asyncio.wait_for(owner.messages.state(CART), 30) == (1, 1, b"state")


@pytest.mark.usefixtures("impatient")
async def test_the_outcome_of_a_commit_is_found_where_the_first_question_for_it_gets_no_answer(
    database: Database,
) -> None:
    owner = await database.runner()
    async with owner._ending.take() as line:  # pyright: ignore[reportPrivateUsage]
        deafen(line)
    committing = await commit_unheard(database, owner)
    await asyncio.wait_for(committing, 30)


@pytest.mark.usefixtures("impatient")
async def test_a_users_transaction_whose_commit_gets_no_answer_comes_to_an_end(database: Database) -> None:
    owner = await database.runner()
    transaction = await owner.journal.begin(timeout_s=60)
    await transaction.execute("INSERT INTO holdfast_meta VALUES ('user', '1')")
    deafen(transaction._connection)
    with pytest.raises(PersistenceError):
        await asyncio.wait_for(transaction.commit(unit(STATE)), 30)
    assert await database.states() == 0


@pytest.mark.usefixtures("impatient")
async def test_a_writers_line_that_never_opens_writes_nothing(database: Database, monkeypatch: Any) -> None:
    owner = await database.runner()
    connect = owner.sessions._connect  # pyright: ignore[reportPrivateUsage]

    async def connect_deaf() -> Any:
        line = await connect()
        deafen(line)
        return line

    monkeypatch.setattr(owner.sessions, "_connect", connect_deaf)
    with pytest.raises(PersistenceError) as refused:
        await asyncio.wait_for(owner.journal.commit([unit(STATE)]), 30)
    assert refused.value.executed == "no"
    monkeypatch.undo()
    await owner.journal.commit([unit(STATE)])


@pytest.mark.usefixtures("impatient")
async def test_a_start_whose_first_question_gets_no_answer_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for ever: nothing is sent on the line that could be found not to arrive."""

    async def open_deaf(options: PostgresOptions) -> Any:
        line = await open_at_start(options)
        deafen(line)
        return line

    monkeypatch.setattr(store, "open_at_start", open_deaf)
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await asyncio.wait_for(open_runner(PostgresOptions(url=database.url)), 30)


async def test_a_commit_whose_task_is_cancelled_too_late_says_that_it_committed(database: Database) -> None:
    owner = await database.runner()
    committing = await commit_unheard(database, owner)
    committing.cancel()
    await asyncio.wait_for(committing, 30)


async def test_a_commit_that_is_cancelled_while_it_waits_has_written_nothing(database: Database) -> None:
    owner = await database.runner()
    await database.admin.execute("BEGIN")
    await database.admin.execute("LOCK TABLE holdfast_state IN EXCLUSIVE MODE")
    session = await owner.sessions.take(1)
    owner.sessions.give_back(session)
    committing = asyncio.ensure_future(owner.journal.commit([unit(STATE)]))
    await database.until_blocked(pid_of(session))
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(committing, 30)
    await database.admin.execute("COMMIT")
    assert await database.states() == 0
    await owner.journal.commit([unit(STATE)])


async def test_a_commit_whose_session_is_ended_by_the_server_has_written_nothing(database: Database) -> None:
    owner = await database.runner()
    await database.admin.execute("BEGIN")
    await database.admin.execute("LOCK TABLE holdfast_state IN EXCLUSIVE MODE")
    session = await owner.sessions.take(1)
    owner.sessions.give_back(session)
    committing = asyncio.ensure_future(owner.journal.commit([unit(STATE)]))
    await database.until_blocked(pid_of(session))
    other = await database.connect()
    await other.execute("SELECT pg_terminate_backend($1)", pid_of(session))
    with pytest.raises(PersistenceError) as caught:
        await asyncio.wait_for(committing, 30)
    assert caught.value.executed == "no" and not isinstance(caught.value, FencedOut)
    await database.admin.execute("COMMIT")
    assert await database.states() == 0


async def test_a_commit_that_is_reaped_while_its_outcome_is_unknown_says_unknown(database: Database) -> None:
    owner = await database.runner()
    committing = await commit_unheard(database, owner)
    await database.admin.execute("DELETE FROM holdfast_runner")
    committing.cancel()
    with pytest.raises(FencedOut) as caught:
        await asyncio.wait_for(committing, 30)
    assert caught.value.executed == "unknown"


async def test_a_transaction_may_not_be_ended_from_inside(database: Database) -> None:
    owner = await database.runner()
    transaction = await owner.journal.begin(timeout_s=60)
    for statement in ("COMMIT", " rollback", "BEGIN"):
        with pytest.raises(Exception, match="may begin or end"):
            await transaction.execute(statement)
    await transaction.execute("SAVEPOINT here")
    await transaction.execute("ROLLBACK TO SAVEPOINT here")
    await transaction.commit(unit(STATE))
    assert await database.states() == 1


async def test_a_failed_statement_is_the_users_to_see_and_nothing_of_it_commits(database: Database) -> None:
    owner = await database.runner()
    transaction = await owner.journal.begin(timeout_s=60)
    with pytest.raises(Exception, match="no_such_table"):
        await transaction.fetch("SELECT * FROM no_such_table")
    with pytest.raises(PersistenceError):
        await transaction.commit(unit(STATE))
    assert await database.states() == 0
    await owner.journal.commit([unit(STATE)])
