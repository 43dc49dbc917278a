"""The way from one process to a store in memory: where a test makes it slow, lossy, or cuts it.

A store that several processes share is reached over a connection in production. Here each call passes a `Way`: `go`
before the store does it, `back` after. Where `go` raises nothing was done; where `back` raises it was done, and the
caller does not know. Only a journal's commits are never left in doubt, as its port promises: there `back` takes as long
as it takes to find out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, cast

from holdfast.errors import PersistenceError
from holdfast.model.unit import Unit
from holdfast.ports.journal import Journal, OpenTransaction
from holdfast.ports.membership import LeaseLine, Membership
from holdfast.ports.reads import InboxReader, InboxWriter, JobReader, LedgerReader, MessageReader
from holdfast.ports.store import Ids, Maintenance
from holdfast.storage.memory.store import MemoryStore

UNREACHABLE_AFTER_S = 0.1
"""Seconds after which a process learns that a store it is cut off from does not answer."""


class Way(Protocol):
    """What a call meets on its way to the store and back."""

    @property
    def clear(self) -> bool:
        """Whether a call passes at once and unharmed, both ways."""
        ...

    async def go(self, what: str) -> None:
        """Raises PersistenceError: the store was not reached."""
        ...

    async def back(self, what: str) -> None:
        """Raises PersistenceError (`executed="unknown"`): the answer was lost; of COMMIT at the process's end only."""
        ...


COMMIT = "commit"


class Cable:
    """A way that is clear while it is not cut."""

    def __init__(self) -> None:
        self._whole = asyncio.Event()
        self._whole.set()
        self._ended = False

    @property
    def cut(self) -> bool:
        return self._ended or not self._whole.is_set()

    @cut.setter
    def cut(self, cut: bool) -> None:
        if cut:
            self._whole.clear()
        else:
            self._whole.set()

    def end(self) -> None:
        """Cut for good: whoever still waits for an answer gets none."""
        self._ended = True
        self._whole.set()

    @property
    def clear(self) -> bool:
        return not self.cut

    async def go(self, what: str) -> None:
        if self.cut:
            await asyncio.sleep(UNREACHABLE_AFTER_S)
            raise PersistenceError(f"{what}: the store can't be reached")

    async def back(self, what: str) -> None:
        if what == COMMIT:
            await self._whole.wait()
        if self.cut:
            await asyncio.sleep(UNREACHABLE_AFTER_S)
            raise PersistenceError(f"{what}: the answer is lost", executed="unknown")


class GatedStore:
    """`RunnerStore`: one process's sight of a memory store."""

    lease_on_thread = False

    def __init__(self, store: MemoryStore, way: Way) -> None:
        self.url = store.url
        self.lanes = 2  # as on a database
        self.alone = store.alone
        self.connections = store.connections
        self._store = store
        self._way = way
        self.journal: Journal = _GatedJournal(store.journal, way)
        self.messages = cast(MessageReader, _Gated(store.messages, way))
        self.jobs = cast(JobReader, _Gated(store.jobs, way))
        self.inbox_reader = cast(InboxReader, _Gated(store.inbox_reader, way))
        self.inbox = cast(InboxWriter, _Gated(store.inbox, way))
        self.ledger = cast(LedgerReader, _Gated(store.ledger, way))
        self.ids = cast(Ids, _Gated(store.ids, way))
        self.membership = cast(Membership, _Gated(store.membership, way))
        self.maintenance = cast(Maintenance, _Gated(store.maintenance, way))
        self._calls = _Gated(store, way)

    async def cluster_id(self) -> str:
        return await self._store.cluster_id()

    async def shard_count(self, group: str) -> int | None:
        return cast("int | None", await self._calls.shard_count(group))

    async def runner_address(self) -> str | None:
        return cast("str | None", await self._calls.runner_address())

    async def inbox_changed(self) -> bool:
        """A word that does not arrive is not lost: it is there at the next call."""
        try:
            await self._way.go("inbox_changed")
        except PersistenceError:
            return False
        return await self._store.inbox_changed()

    async def lease_line(self) -> LeaseLine:
        return cast(LeaseLine, _Gated(await self._store.lease_line(), self._way))

    async def close(self) -> None:
        await self._store.close()


class _Gated:
    """Any part of a store all of whose methods are asynchronous."""

    def __init__(self, part: object, way: Way) -> None:
        self._part = part
        self._way = way

    def __getattr__(self, name: str) -> Any:
        method, way = getattr(self._part, name), self._way

        async def passed(*args: Any, **kwargs: Any) -> Any:
            await way.go(name)
            result = await method(*args, **kwargs)
            await way.back(name)
            return result

        setattr(self, name, passed)
        return passed


class _GatedJournal:
    def __init__(self, journal: Journal, way: Way) -> None:
        self._journal = journal
        self._way = way

    def commit(self, units: Sequence[Unit]) -> Awaitable[None] | None:
        return self._journal.commit(units) if self._way.clear else self._pass(units)

    async def begin(self, *, timeout_s: float) -> OpenTransaction:
        await self._way.go("begin")
        return _GatedTransaction(await self._journal.begin(timeout_s=timeout_s), self._way)

    async def _pass(self, units: Sequence[Unit]) -> None:
        await self._way.go(COMMIT)
        under_way = self._journal.commit(units)
        if under_way is not None:
            await under_way
        await self._way.back(COMMIT)


class _GatedTransaction:
    def __init__(self, opened: OpenTransaction, way: Way) -> None:
        self._opened = opened
        self._way = way
        self.execute = opened.execute
        self.fetch = opened.fetch
        self.native = opened.native
        self.rollback = opened.rollback

    async def commit(self, unit: Unit) -> None:
        await self._way.go(COMMIT)
        await self._opened.commit(unit)
        await self._way.back(COMMIT)
