"""One PostgreSQL database as a whole store: for a runner, and for a client."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Literal, TypeVar

from holdfast.errors import ConfigurationError, PersistenceError, StoreUnavailable
from holdfast.kit.clock import Clock, SystemClock
from holdfast.ports.membership import LeaseLine
from holdfast.storage.statements import load_statements
from holdfast.storage.urls import masked

from . import schema
from .connection import Connection, PostgresOptions, milliseconds, open_at_start, open_connection, session_settings
from .endings import Endings
from .faults import DRIVER_ERRORS, translated
from .inbox import PostgresIds, PostgresInbox, Wakeups
from .journal import Incarnation, PostgresJournal
from .lease import PostgresLeaseLine
from .ledger import PostgresLedgerReader
from .maintenance import PostgresMaintenance
from .membership import PostgresMembership, PostgresMembershipDesk
from .parts import Statements
from .pool import Pool, end
from .reads import PostgresInboxReader, PostgresJobReader, PostgresMessageReader, Reader
from .sessions import Sessions

logger = logging.getLogger("holdfast.storage")

STATEMENTS_PACKAGE = "holdfast.storage.postgres.statements"
_VERSION_MIN = 150000
_ENDINGS_MAX = 2
_URGENT = 1
"""Sessions beside the lanes' own, for what is urgent: see `kit.batching.Lanes`."""

S = TypeVar("S", bound="PostgresRunnerStore | PostgresClientStore")
Connect = Callable[[], Awaitable[Connection]]


class _Opened:
    """What both kinds of store have; connections are opened when they are first wanted."""

    def __init__(self, options: PostgresOptions, schema_name: str) -> None:
        self.url = masked(options.url)
        self.options = options
        self.sql: Mapping[str, str] = load_statements(STATEMENTS_PACKAGE)
        self.pool = Pool(
            self.connecting("read"), size=options.readers_max, wait_s=options.wait_s, pinned=options.pooled
        )
        self._counting = Pool(self.connecting("count"), size=1, wait_s=options.wait_s, pinned=options.pooled)
        reader = Reader(self.pool, self.sql)
        self.messages = PostgresMessageReader(reader)
        self.jobs = PostgresJobReader(reader, Reader(self._counting, self.sql))
        self.inbox_reader = PostgresInboxReader(reader)
        self.ledger = PostgresLedgerReader(self._counting, self.sql, options)
        self.ids = PostgresIds(self.pool, self.sql)
        self.inbox = PostgresInbox(self.pool, self.sql, options)
        self._wakeups = Wakeups(_listening(options), schema_name)
        self._read = reader.rows

    def connecting(self, kind: Literal["read", "write", "count", "user"]) -> Connect:
        bounded = kind in ("read", "write")  # the others take as long as there is to count, or as their user allows
        return partial(open_connection, self.options, session_settings(self.options, kind), bounded=bounded)

    async def cluster_id(self) -> str:
        return str((await self._read("cluster_id"))[0][0])

    async def shard_count(self, group: str) -> int | None:
        rows = await self._read("shard_count", group)
        return int(rows[0][0]) if rows else None

    async def runner_address(self) -> str | None:
        rows = await self._read("runner_address")
        return str(rows[0][0]) if rows else None

    async def inbox_changed(self) -> bool:
        return await self._wakeups.changed()

    async def close(self) -> None:
        """Ends all connections. May be called twice."""
        await self._wakeups.close()
        await self._counting.close()
        await self.pool.close()


class PostgresClientStore(_Opened):
    """`ClientStore` on a database."""

    def __init__(self, options: PostgresOptions, schema_name: str) -> None:
        super().__init__(options, schema_name)
        self.membership = PostgresMembershipDesk(self.pool, self.sql, options)


class PostgresRunnerStore(_Opened):
    """`RunnerStore` on a database, beside any number of others."""

    alone = False
    lease_on_thread = True

    def __init__(self, options: PostgresOptions, schema_name: str) -> None:
        super().__init__(options, schema_name)
        incarnation = Incarnation()
        self._ending = Pool(self.connecting("read"), size=_ENDINGS_MAX, wait_s=options.wait_s, pinned=options.pooled)
        self.endings = endings = Endings(self._ending, self.pool, self.sql, options)
        self.sessions = self._sessions_of(self.connecting("write"), endings, options.writers_max + _URGENT)
        self._interactive = self._sessions_of(self.connecting("user"), endings, options.transactions_max)
        self.lanes = options.writers_max
        self.journal = PostgresJournal(self.sessions, self._interactive, incarnation, options)
        self.membership = PostgresMembership(
            self.pool, self.sql, endings=endings, incarnation=incarnation, options=options
        )
        self.maintenance = PostgresMaintenance(self.pool, self.sql)

    async def lease_line(self) -> LeaseLine:
        options = self.options
        pinned = options.pooled and options.direct_url is None
        settings = {"application_name": "holdfast lease", "tcp_user_timeout": milliseconds(options.silence_s)}
        connect = partial(open_connection, options, {} if pinned else settings, url=options.direct_url)
        return PostgresLeaseLine(connect, self.sql, options, pinned=pinned)

    def _sessions_of(self, connect: Connect, endings: Endings, size: int) -> Sessions:
        return Sessions(
            connect=connect,
            slot_open=self.sql["slot_open"],
            statements=Statements(self.sql),
            endings=endings,
            size=size,
            answer_s=self.options.answer_s,
        )

    def connections(self) -> tuple[int, int]:
        """Those for reads, writes and the users' transactions; the lines for the lease and for LISTEN stand apart."""
        counts = [one.count() for one in (self.pool, self._counting, self._ending, self.sessions, self._interactive)]
        return sum(busy for busy, _ in counts), sum(idle for _, idle in counts)

    async def close(self) -> None:
        await self.sessions.close()
        await self._interactive.close()
        await self._ending.close()
        await super().close()


def options(
    url: str,
    *,
    clock: Clock | None,
    direct_url: str | None = None,
    pooled: bool = False,
    unsafe_synchronous: bool = False,
) -> PostgresOptions:
    """How to use a database; only a clock that is not the system's stands in for the database's own."""
    return PostgresOptions(
        url=url,
        direct_url=direct_url,
        pooled=pooled,
        clock=None if isinstance(clock, SystemClock) else clock,
        unsafe_synchronous=unsafe_synchronous,
    )


async def open_runner(options: PostgresOptions) -> PostgresRunnerStore:
    """Migrates where needed. Raises ConfigurationError, StoreUnavailable and SchemaMismatch."""
    return await _same_store(PostgresRunnerStore(options, await _prepared(options, migrate=True)))


async def open_client(options: PostgresOptions) -> PostgresClientStore:
    """Neither makes a store nor migrates one. Raises ConfigurationError, StoreUnavailable and SchemaMismatch."""
    return await _same_store(PostgresClientStore(options, await _prepared(options, migrate=False)))


async def _same_store(store: S) -> S:
    """Makes sure that both URLs lead to one database: a lease kept in another would be worth nothing."""
    direct_url = store.options.direct_url
    if direct_url is None:
        return store
    try:
        connection = await open_at_start(store.options)
        try:
            ((there,),) = await connection.fetch(store.sql["cluster_id"])
        finally:
            await end(connection)
        if there != await store.cluster_id():
            raise ConfigurationError(f"{masked(direct_url)} is another store than {store.url}")
    except BaseException:
        await store.close()
        raise
    return store


def _listening(options: PostgresOptions) -> Connect | None:
    """How to reach the server for LISTEN; not through a pooler, which would give the line to others in between."""
    if options.pooled and options.direct_url is None:
        return None
    settings = {"application_name": "holdfast listen", "tcp_user_timeout": milliseconds(options.silence_s)}
    return partial(open_connection, options, settings, url=options.direct_url)


async def _prepared(options: PostgresOptions, *, migrate: bool) -> str:
    """Looks at the server and its schema before anything else is opened; returns the schema's name."""
    connection = await open_at_start(options)
    try:
        name = await _checked_server(connection, options)
        try:
            if migrate:
                await schema.migrate(connection, (options.clock or SystemClock()).now_us())
            await schema.check(connection, masked(options.url))
        except PersistenceError as error:
            raise StoreUnavailable(str(error)) from error
        return name
    except DRIVER_ERRORS as error:
        raise StoreUnavailable(str(translated(error, True))) from error
    finally:
        await end(connection)


async def _checked_server(connection: Connection, options: PostgresOptions) -> str:
    sql = load_statements(STATEMENTS_PACKAGE)["server"]
    ((synchronous_commit, fsync, version, name),) = await connection.fetch(sql)
    if version < _VERSION_MIN:
        raise StoreUnavailable(f"PostgreSQL {_VERSION_MIN // 10000} or newer is needed, this server is {version}")
    if name is None:
        raise StoreUnavailable("the connection's search_path names no schema that exists")
    if synchronous_commit == "off" and not options.unsafe_synchronous:
        raise ConfigurationError(
            "synchronous_commit is off for this role or database, which may lose acknowledged work; "
            "it needs unsafe_synchronous=True"
        )
    if fsync == "off":
        logger.warning("the server runs with fsync=off: a crash of its machine loses acknowledged work")
    return str(name)
