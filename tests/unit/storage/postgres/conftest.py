"""Stores on a real PostgreSQL, with a clock that the test moves, and a look from outside at who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from holdfast.kit.clock import Clock
from holdfast.model.message import StateRow
from holdfast.model.unit import Row, Unit
from holdfast.ports.membership import Registration
from holdfast.storage.postgres.batch import layers
from holdfast.storage.postgres.parts import parts_of
from holdfast.storage.postgres.sessions import WriteSession
from holdfast.storage.postgres.store import PostgresRunnerStore, open_runner, options
from tests.support.membership import LEASE_US, claim_all, renew
from tests.support.postgres import emptied_schema, servers

REGISTRATION = Registration(
    address="tcp:here", version="1", types=("Cart",), groups=("default",), weight=1.0, lease_ttl_us=LEASE_US
)
STATE = StateRow(shard=0, entity_type="Cart", entity_id="c-1", version=1, schema=1, state=b"state")


class ManualClock(Clock):
    """Time that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def now_us(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1_000_000


class Database:
    """One database: its runners, and an operator's connection."""

    def __init__(self, url: str, server: str, admin: Any, stack: AsyncExitStack) -> None:
        self.url = url
        self.server = server
        self.admin = admin
        self.clock = ManualClock()
        self._stack = stack

    async def runner(self, *, shards: int = 1, url: str | None = None) -> PostgresRunnerStore:
        """A further runner, registered, with all shards that nobody owned."""
        store = await open_runner(options(url or self.url, clock=self.clock))
        self._stack.push_async_callback(store.close)
        runner_id = await store.membership.register(REGISTRATION)
        await claim_all(store, runner_id, shards=shards)
        return store

    async def connect(self) -> Any:
        """A connection by itself, without any of the store's settings."""
        connection = await asyncpg.connect(self.url)
        self._stack.callback(connection.terminate)
        return connection

    async def expire(self, *living: tuple[PostgresRunnerStore, int]) -> None:
        """Lets every lease run out but those of `living`."""
        self.clock.now += REGISTRATION.lease_ttl_us + 1
        for store, runner_id in living:
            await renew(store, runner_id)

    async def until_blocked(self, pid: int) -> None:
        """Returns when the session waits for another one."""
        await self._until("SELECT cardinality(pg_blocking_pids($1)) > 0", pid)

    async def until_gone(self, pid: int) -> None:
        """Returns when the session has ended."""
        await self._until("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid)

    async def until_states(self, count: int) -> None:
        """Returns when this many states can be seen."""
        await self._until("SELECT count(*) = $1 FROM holdfast_state", count)

    async def _until(self, question: str, *args: object) -> None:
        async def look() -> None:
            while not await self.admin.fetchval(question, *args):
                pass

        await asyncio.wait_for(look(), 30)

    async def states(self) -> int:
        return int(await self.admin.fetchval("SELECT count(*) FROM holdfast_state"))


@pytest.fixture(params=servers())
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    url: Callable[[str], str] = request.getfixturevalue("postgres_servers")
    async with emptied_schema(url(request.param)) as place, AsyncExitStack() as stack:
        admin = await asyncpg.connect(place)
        stack.push_async_callback(admin.close)
        yield Database(place, url(request.param), admin, stack)


def unit(*rows: Row) -> Unit:
    made = Unit()
    for row in rows:
        made.add(row)
    return made


async def write(session: WriteSession, *rows: Row) -> None:
    """One layer, in the session's open transaction or in one of its own."""
    (layer,) = layers([unit(*rows)])
    session.batch += 1
    await session.write(parts_of(layer))


def pid_of(session: WriteSession) -> int:
    connection: Any = session.connection
    return int(connection.get_server_pid())
