"""Connections to PostgreSQL: how one is opened, and the little of the driver that the rest of the store uses.

What a session promises is set when it starts: bounded statements, bounded waits for locks, an end for transactions
that idle, and a bound on how long either side believes in a peer that does not answer. Behind a pooler in transaction
mode none of this would survive, so nothing is sent there; the runtime role carries it (docs/postgresql.md).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from holdfast.errors import PersistenceError, StoreUnavailable
from holdfast.kit.clock import Clock

from .faults import Broken, meaning

APPLICATION_NAME = "holdfast"
_ANSWER_GRACE_S = 2.0
"""What the server's own limit on a statement gets on top before this side gives up waiting for its answer."""
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class Record(Protocol):
    """A row of the driver: by position, by name, and in order."""

    def __getitem__(self, key: int | str) -> Any: ...

    def __iter__(self) -> Any: ...


class Connection(Protocol):
    """What the store uses of `asyncpg.Connection`."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str: ...

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Record]: ...

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Record | None: ...

    async def close(self, *, timeout: float | None = None) -> None: ...

    async def add_listener(self, channel: str, callback: Callable[..., object]) -> None: ...

    def terminate(self) -> None: ...

    def is_closed(self) -> bool: ...

    def is_in_transaction(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """How a database is used."""

    url: str = field(repr=False)
    direct_url: str | None = field(default=None, repr=False)
    """The same database past the pooler, for what a pooler in transaction mode can't carry (LISTEN)."""
    pooled: bool = False
    """`url` leads to a pooler in transaction mode: no session settings, no prepared statements that outlive one."""
    clock: Clock | None = None
    """Stands in for the database's own clock, in tests."""
    unsafe_synchronous: bool = False
    """Accepts a server that acknowledges commits before they are on the disk."""
    connect_s: float = 5.0
    """How long opening a connection may take."""
    wait_s: float = 10.0
    """How long a read, or a write outside of the journal, waits for a server that is away."""
    statement_s: float = 10.0
    """The longest statement; those that count everything are exempt."""
    lock_s: float = 5.0
    """The longest wait for a lock."""
    idle_in_transaction_s: float = 10.0
    """The longest pause inside a transaction, after which the server ends the session."""
    silence_s: float = 5.0
    """How long sent bytes may stay unacknowledged before either side gives the connection up (tcp_user_timeout)."""
    writers_max: int = 2
    """Batches in flight at any time, each on a connection of its own; beside them one of what is urgent."""
    transactions_max: int = 4
    """Interactive transactions open at any time, each on a connection of its own."""
    readers_max: int = 2
    """Reads, and short writes beside the journal, at any time."""

    @property
    def answer_s(self) -> float:
        """How long this side waits for an answer: the server gives up before, and says so, unless it or whatever stands
        in between keeps the line and says nothing."""
        return self.statement_s + _ANSWER_GRACE_S

    def now_us(self) -> int | None:
        """What a statement takes for now: None is the database's own clock."""
        return None if self.clock is None else self.clock.now_us()


def milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


PLANS = {"enable_seqscan": "off", "enable_nestloop": "off"}
"""How a batch is planned: rows looked up by an index from the array of their ids, then hashed against what is new.

Tables here fill and empty faster than their statistics follow, and a prepared plan stays: one made for an empty table
would read a full one from end to end. A nested loop may begin with the table: once an empty one was analyzed, it does.
"""
LOCAL_PLANS = "; ".join(f"SET LOCAL {name} = {value}" for name, value in PLANS.items())
_KINDS: dict[str, dict[str, str]] = {
    # [M] To start a parallel worker took 6 ms of each read.
    "read": {"enable_seqscan": "off", "max_parallel_workers_per_gather": "0"},
    "write": PLANS,
    "count": {"statement_timeout": "0"},
    "user": {},
}


def session_settings(options: PostgresOptions, kind: Literal["read", "write", "count", "user"]) -> dict[str, str]:
    """What a session starts with; one of a user's own statements is planned as the server sees fit."""
    settings = {"application_name": APPLICATION_NAME}
    if options.pooled:
        return settings
    return settings | {
        "default_transaction_isolation": "read committed",
        "statement_timeout": milliseconds(options.statement_s),
        "lock_timeout": milliseconds(options.lock_s),
        "idle_in_transaction_session_timeout": milliseconds(options.idle_in_transaction_s),
        "tcp_user_timeout": milliseconds(options.silence_s),
        "jit": "off",
        **_KINDS[kind],
    }


async def open_connection(
    options: PostgresOptions, settings: Mapping[str, str], *, url: str | None = None, bounded: bool = True
) -> Connection:
    """`bounded`: each statement that does not say otherwise fails where its answer does not come in time.

    Raises Broken when nobody answers, PersistenceError when the server refuses.
    """
    cached = 0 if options.pooled else 200
    try:
        opened = cast(
            Connection,
            await asyncpg.connect(  # pyright: ignore[reportUnknownMemberType]
                url or options.url,
                timeout=options.connect_s,  # pyright: ignore[reportArgumentType] - any number will do
                command_timeout=options.answer_s if bounded else None,
                statement_cache_size=cached,
                max_cached_statement_lifetime=0,
                max_cacheable_statement_size=0,
                server_settings=dict(settings),
            ),
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise Broken(f"no connection to PostgreSQL: {meaning(error)}") from error
    except ValueError as error:  # of the URL or what it leads to; what it says may quote a password
        raise Broken(f"no connection to PostgreSQL: its URL can't be used ({type(error).__name__})") from None
    _bound_silence(opened, options.silence_s)
    return opened


def _bound_silence(connection: Connection, silence_s: float) -> None:
    """The client's half of `tcp_user_timeout`; the driver has no door for it."""
    transport = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport is not None else None
    if _TCP_USER_TIMEOUT is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, round(silence_s * 1000))


async def open_at_start(options: PostgresOptions) -> Connection:
    """The first connection of a process, whose failure is for the operator to put right. Raises StoreUnavailable."""
    try:
        return await open_connection(options, session_settings(options, "read"), url=options.direct_url)
    except PersistenceError as error:
        raise StoreUnavailable(str(error)) from error


def affected(status: str) -> int:
    """How many rows a statement changed, by its command tag: `INSERT 0 5`, `UPDATE 2`, `CREATE TABLE`."""
    verb, _, rest = status.partition(" ")
    count = rest.rpartition(" ")[2]
    return int(count) if verb in ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY") and count.isdigit() else 0
