"""One SQLite file as a whole store: for its runner, and for a client of the same file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import apsw

from holdfast.errors import PersistenceError, StoreUnavailable
from holdfast.kit.clock import Clock
from holdfast.ports.membership import LeaseLine
from holdfast.storage.statements import load_statements
from holdfast.storage.steps import no_store

from . import schema
from .connection import Connection, bounded_patience, open_connection
from .faults import translated_at_open
from .gate import gate
from .guard import guard, unguard
from .journal import SqliteJournal
from .ledger import SqliteLedgerReader
from .lock import RunnerLock
from .maintenance import SqliteMaintenance
from .membership import SqliteLeaseLine, SqliteMembership, SqliteMembershipDesk
from .outside import OutsideWriter, RunnerIds, RunnerInbox
from .reads import Reader, SqliteInboxReader, SqliteJobReader, SqliteMessageReader
from .session import WriteSession
from .threaded import ThreadedConnection
from .transaction import InteractiveConnection

STATEMENTS_PACKAGE = "holdfast.storage.sqlite.statements"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteOptions:
    """How a file is used."""

    path: str
    url: str
    clock: Clock
    synchronous: str = "FULL"
    """Below FULL a power cut may lose what was acknowledged."""
    busy_s: float = 1.0
    """How long the runner's event loop waits for a client that writes."""
    wait_s: float = 5.0
    """How long a client waits for its turn to write."""

    def connect(self, *, read_only: bool = False) -> Connection:
        busy_s = self.busy_s if not read_only else self.wait_s
        return open_connection(self.path, synchronous=self.synchronous, read_only=read_only, busy_s=busy_s)

    def connect_read_only(self) -> Connection:
        return self.connect(read_only=True)

    def connect_patiently(self) -> Connection:
        return open_connection(self.path, synchronous=self.synchronous, busy_s=self.wait_s)


class _Opened:
    """What both kinds of store have: statements, a reader, a ledger, and the guard against another SQLite."""

    def __init__(self, options: SqliteOptions) -> None:
        self.url = options.url
        self.options = options
        self.sql: Mapping[str, str] = load_statements(STATEMENTS_PACKAGE)
        self._closing = ExitStack()
        with ExitStack() as opening:
            guard(options.path)
            opening.callback(unguard, options.path)
            self.reader = Reader(options.connect_read_only(), self.sql)
            opening.callback(self.reader.connection.close)
            self._closing = opening.pop_all()
        counting = ThreadedConnection(options.connect_read_only, "holdfast-ledger")
        self._closing.callback(counting.close)
        self.messages = SqliteMessageReader(self.reader)
        self.jobs = SqliteJobReader(self.reader, counting)
        self.inbox_reader = SqliteInboxReader(self.reader)
        self.ledger = SqliteLedgerReader(counting, self.sql, options.clock)

    def on_close(self, act: Callable[[], object]) -> None:
        self._closing.callback(act)

    async def cluster_id(self) -> str:
        return str(self.reader.rows("cluster_id")[0][0])

    async def shard_count(self, group: str) -> int | None:
        rows = self.reader.rows("shard_count", (group,))
        return int(rows[0][0]) if rows else None

    async def runner_address(self) -> str | None:
        rows = self.reader.rows("runner_address")
        return str(rows[0][0]) if rows else None

    def connections(self) -> tuple[int, int]:
        return 0, 0

    async def close(self) -> None:
        """Ends threads and connections, then gives the runner lock up. May be called twice."""
        self._closing.close()


class SqliteClientStore(_Opened):
    """`ClientStore` on a file whose runner is another process, or nobody at the moment."""

    def __init__(self, options: SqliteOptions) -> None:
        _check_there(options)
        super().__init__(options)
        writing = ThreadedConnection(options.connect_patiently, "holdfast-outside")
        self.on_close(writing.close)
        outside = OutsideWriter(
            writing, self.sql, options.clock, gate_path=_gate_path(options.path), wait_s=options.wait_s
        )
        self.ids = outside
        self.inbox = outside
        self.membership = SqliteMembershipDesk(self.reader, outside, options.clock)
        self._seen = data_version(self.reader.connection)

    async def inbox_changed(self) -> bool:
        before, self._seen = self._seen, data_version(self.reader.connection)
        return before != self._seen


class SqliteRunnerStore(_Opened):
    """`RunnerStore`: holds the runner lock from here to `close`."""

    lanes = 1
    alone = True
    lease_on_thread = False

    def __init__(self, options: SqliteOptions) -> None:
        with ExitStack() as opening:
            lock = RunnerLock(options.path)
            _take_lock(lock, options)
            opening.callback(lock.release)
            with gate(_gate_path(options.path), wait_s=options.wait_s):
                writing = options.connect_patiently()
                opening.callback(writing.close)
                schema.migrate(writing, options.clock.now_us())
            super().__init__(options)
            opening.callback(self._closing.pop_all().close)
            self._closing = opening.pop_all()
        self._writing = writing
        self._interactive: InteractiveConnection | None = None
        self._session = session = WriteSession(writing, self.sql, options.clock)
        self.journal = SqliteJournal(session, self._open_interactive)
        self.membership = SqliteMembership(session, self.reader, claimed=self._serve)
        self.maintenance = SqliteMaintenance(session)
        self.ids = RunnerIds(session)
        self.inbox = RunnerInbox(session)
        self._seen = data_version(writing)

    def _serve(self) -> None:
        """Until it has shards nothing waits for the runner, and a client that writes slowly need not fail its start."""
        self._writing.set_busy_handler(bounded_patience(self.options.busy_s))

    async def lease_line(self) -> LeaseLine:
        return SqliteLeaseLine(self._session)

    def _open_interactive(self) -> InteractiveConnection:
        if self._interactive is None:
            connection = self.options.connect_patiently()
            connection.execute("PRAGMA foreign_keys = ON")  # for the user's tables, as on PostgreSQL; ours have none
            self._interactive = InteractiveConnection(connection, self.sql)
            self.on_close(self._interactive.close)
        return self._interactive

    async def inbox_changed(self) -> bool:
        """The writing connection's own commits do not move its counter, so this tells of others only."""
        before, self._seen = self._seen, data_version(self._writing)
        return before != self._seen


def data_version(connection: Connection) -> int:
    """A number that changes when another connection has changed the file."""
    return int(connection.execute("PRAGMA data_version").fetchall()[0][0])


def open_runner(options: SqliteOptions) -> SqliteRunnerStore:
    """Raises StoreUnavailable and SchemaMismatch."""
    try:
        return SqliteRunnerStore(options)
    except apsw.Error as error:
        raise translated_at_open(error, options.path) from error
    except PersistenceError as error:
        raise StoreUnavailable(str(error)) from error


def open_client(options: SqliteOptions) -> SqliteClientStore:
    """Raises StoreUnavailable and SchemaMismatch."""
    try:
        return SqliteClientStore(options)
    except apsw.Error as error:
        raise translated_at_open(error, options.path) from error
    except PersistenceError as error:
        raise StoreUnavailable(str(error)) from error


def _check_there(options: SqliteOptions) -> None:
    """A client makes no store, as its path may be mistyped, and migrates none: its runner may be older, and running.

    The gate has it wait for a runner that is just making or migrating the store.
    """
    if not Path(options.path).exists():
        raise no_store(options.url)
    with gate(_gate_path(options.path), wait_s=options.wait_s):
        connection = options.connect_read_only()
        try:
            schema.check(connection, options.url)
        finally:
            connection.close()


def _take_lock(lock: RunnerLock, options: SqliteOptions) -> None:
    try:
        lock.take()
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error}{_address_of_runner(options)}") from error


def _address_of_runner(options: SqliteOptions) -> str:
    try:
        connection = options.connect_read_only()
    except apsw.Error:
        return ""
    try:
        rows = connection.execute(load_statements(STATEMENTS_PACKAGE)["runner_address"]).fetchall()
        return f", listening at {rows[0][0]}" if rows else ""
    except apsw.Error:
        return ""
    finally:
        connection.close()


def _gate_path(path: str) -> str:
    return f"{os.path.realpath(path)}.gate"
