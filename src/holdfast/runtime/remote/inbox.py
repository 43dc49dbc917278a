"""Where a process leaves what no owner is there to take: rows of the inbox, many in one write.

A write waits behind the store's gate, so what comes in meanwhile goes out together with the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from holdfast.errors import RunnerUnavailable
from holdfast.kit.batching import Closed, GroupCommit
from holdfast.model.inbox import Entry, InboxKind, encode_entry
from holdfast.ports.reads import InboxWriter


class Leaving:
    """One row on its way into the inbox; an item of the group commit."""

    __slots__ = ("_done", "entry", "rows", "size_bytes")

    def __init__(self, entry: tuple[int, int, InboxKind, bytes], done: asyncio.Future[None]) -> None:
        self.entry = entry
        self.rows = (entry,)
        self.size_bytes = len(entry[3])
        self._done = done

    def taken(self) -> None:
        """Nothing to do: the row is complete."""

    def committed(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def failed(self, error: BaseException) -> None:
        if not self._done.done():
            self._done.set_exception(error)


class Leavings:
    """Leaves rows, and remembers how far: `left` is the highest id that may still be in the inbox, 0 for none.

    Ids are not written in their order, so what is known to be taken is told by `writes`, a count of the writes so far.
    """

    def __init__(self, writer: InboxWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._group: GroupCommit[Leaving] = GroupCommit(self._write, loop=self._loop)
        self.left = 0
        self.writes = 0
        self._left_by = 0

    def leave(self, number: int, shard: int, entry: Entry) -> asyncio.Future[None]:
        """Durable once the future is done; it fails with PersistenceError, and nothing was written then."""
        kind, body = encode_entry(entry)
        done: asyncio.Future[None] = self._loop.create_future()
        try:
            self._group.add(Leaving((number, shard, kind, body), done))
        except Closed:
            done.set_exception(RunnerUnavailable("this client is stopping"))
        return done

    def taken(self, writes: int) -> None:
        """A runner has taken what was left by the first so many writes."""
        if self._left_by <= writes:
            self.left = 0

    async def close(self) -> None:
        """Writes what is waiting, and no more."""
        await self._group.close()

    def _write(self, batch: Sequence[Leaving]) -> Awaitable[None]:
        return self._leave([item.entry for item in batch])

    async def _leave(self, entries: list[tuple[int, int, InboxKind, bytes]]) -> None:
        await self._writer.leave(entries)
        self.left = max(self.left, *(entry[0] for entry in entries))
        self.writes += 1
        self._left_by = self.writes
