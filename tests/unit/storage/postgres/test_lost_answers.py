"""A line that breaks at the n-th request of a commit, for every n: before it is heard, in the answer, or after it.

Whatever broke, the journal says that the commit happened or that it did not; it is right, and stays right. A fault
may also meet what finds the outcome out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from holdfast.errors import Conflict, PersistenceError
from holdfast.model.inbox import InboxKind
from holdfast.model.message import InboxRow, StateRow
from holdfast.model.unit import Unit
from holdfast.storage.postgres.store import PostgresRunnerStore
from tests.support.lossy import Fault, LossyLine, lossy_line

from .conftest import STATE, Database, unit

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

MOST = 40
"""More requests than any commit here makes."""

Commit = Callable[[PostgresRunnerStore, StateRow, int], Awaitable[None]]


async def in_one_statement(store: PostgresRunnerStore, state: StateRow, number: int) -> None:
    await store.journal.commit([unit(state, left(number))])


async def in_a_transaction_of_several(store: PostgresRunnerStore, state: StateRow, number: int) -> None:
    """Units that meet, so that one statement can't write them: the entity's two states come one after the other."""
    await store.journal.commit([unit(state._replace(state=b"first")), after(state, left(number))])


async def in_a_users_transaction(store: PostgresRunnerStore, state: StateRow, number: int) -> None:
    transaction = await store.journal.begin(timeout_s=60)
    try:
        await transaction.execute("INSERT INTO holdfast_meta VALUES ('user ' || $1, $1)", str(number))
        await transaction.commit(unit(state, left(number)))
    finally:
        await transaction.rollback()


WAYS: list[tuple[Commit, int]] = [
    (in_one_statement, 1),
    (in_a_transaction_of_several, 2),
    (in_a_users_transaction, 1),
]


def left(number: int) -> InboxRow:
    return InboxRow(number, 0, InboxKind.JOB, b"", 1_000)


def after(state: StateRow, row: InboxRow) -> Unit:
    return unit(state._replace(version=state.version + 1), row)


class Trial:
    """One runner behind a lossy line, whose commits are numbered, and what is there by the server's own word."""

    def __init__(self, database: Database, line: LossyLine, store: PostgresRunnerStore) -> None:
        self.database = database
        self.line = line
        self.store = store
        self.number = 0
        self.version = 0

    async def commit(self, way: Commit, versions: int) -> bool:
        """Whether the journal said that it committed; holds that against the server."""
        self.number += 1
        try:
            await way(self.store, STATE._replace(version=self.version + 1), self.number)
        except PersistenceError as error:
            assert not isinstance(error, Conflict)
            assert error.executed == "no"
            said = False
        else:
            said = True
            self.version += versions
        await self.check(said)
        return said

    async def check(self, said: bool) -> None:
        admin = self.database.admin
        assert await admin.fetchval("SELECT count(*) FROM holdfast_inbox WHERE id = $1", self.number) == said
        version = await admin.fetchval("SELECT version FROM holdfast_state")
        assert (version or 0) == self.version

    async def check_users_rows(self) -> None:
        """They are there with the unit that was committed beside them, and only there."""
        users = await self.database.admin.fetch("SELECT value FROM holdfast_meta WHERE name LIKE 'user %'")
        inbox = await self.database.admin.fetch("SELECT id FROM holdfast_inbox")
        assert {row[0] for row in users} in (set(), {str(row[0]) for row in inbox})

    async def end_sessions(self) -> None:
        """The next commit has to open one."""
        for sessions in (self.store.sessions, self.store._interactive):
            session = await sessions.take(1)
            session.connection.terminate()
            sessions.give_back(session)


@pytest.fixture
async def trial(database: Database) -> AsyncIterator[Trial]:
    async with lossy_line(database.url) as (line, url):
        store = await database.runner(url=url)
        yield Trial(database, line, store)
        await database.admin.execute("DELETE FROM holdfast_meta WHERE name LIKE 'user %'")
        await store.close()


@pytest.mark.parametrize("again_after", [None, 1, 3])
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize(("way", "versions"), WAYS, ids=[way.__name__ for way, _ in WAYS])
async def test_whatever_request_is_lost_the_journal_knows_what_happened(
    trial: Trial, way: Commit, versions: int, cold: bool, fault: Fault, again_after: int | None
) -> None:
    """Only the last request commits; where it was done, its lost answer is found out to be a commit."""
    said: list[bool] = []
    assert await trial.commit(way, versions)  # an entity's first state is written by another statement
    for n in range(1, MOST):
        assert await trial.commit(way, versions)
        if cold:
            await trial.end_sessions()
        trial.line.break_at({n: fault} | ({n + again_after: fault} if again_after else {}))
        said.append(await trial.commit(way, versions))
        missed = trial.line.requests < n
        trial.line.break_at({})
        await trial.check(said[-1])
        if missed:
            break
    assert said == [False] * (len(said) - 2) + [fault is not Fault.BEFORE, True]
    await trial.check_users_rows()
