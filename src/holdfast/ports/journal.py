"""The owner's write path: units in, one fenced transaction per batch."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from holdfast.model.unit import Unit

N = TypeVar("N")


class Transaction(Protocol):
    """An open transaction on the store, for the user's own statements in the store's own placeholders."""

    async def execute(self, sql: str, *args: object) -> int:
        """Runs one statement and returns how many rows it changed."""
        ...

    async def fetch(self, sql: str, *args: object) -> Sequence[Mapping[str, object]]:
        """Runs one statement and returns its rows by column name."""
        ...

    def native(self, kind: type[N], /) -> N:
        """The driver's own connection. Raises UsageError where it is not of this kind."""
        ...


@asynccontextmanager
async def part_of(transaction: Transaction) -> AsyncGenerator[Transaction]:
    """A part of a transaction: an error that leaves the block takes back what it did, and no more."""
    await transaction.execute("SAVEPOINT holdfast_block")
    try:
        yield transaction
    except BaseException:
        await transaction.execute("ROLLBACK TO holdfast_block")
        raise
    finally:
        await transaction.execute("RELEASE holdfast_block")


class OpenTransaction(Transaction, Protocol):
    """A transaction as its opener holds it; exactly one of `commit` and `rollback` ends it."""

    async def commit(self, unit: Unit) -> None:
        """Commits the user's statements with the unit, fenced; the same errors as `Journal.commit`."""
        ...

    async def rollback(self) -> None:
        """Takes everything back. Never raises for a transaction that is over already."""
        ...


class Journal(Protocol):
    """Writes what an owner decided.

    Atomic: a batch is on disk whole or not at all. Fenced: nothing of an incarnation that was reaped commits.
    Final: when `commit` has returned or raised, the outcome is known and will not change.
    """

    def commit(self, units: Sequence[Unit]) -> Awaitable[None] | None:
        """Commits the units in order in one transaction, as the incarnation that this store registered last.

        Returns None when the commit is already durable (an embedded store, without a task or a wait), else an
        awaitable. Raises, at once or from the awaitable:

        Conflict: a guard failed; nothing was written, and its `unit_index` names the first unit to blame.
        FencedOut: this incarnation was reaped; nothing was written.
        PersistenceError: the store refused or was unreachable; nothing was written.
        """
        ...

    async def begin(self, *, timeout_s: float) -> OpenTransaction:
        """Opens a transaction outside the group batch; it is rolled back after `timeout_s` seconds.

        While it is open on an embedded store, `commit` waits for it.
        """
        ...
