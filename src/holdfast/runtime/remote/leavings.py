"""Where a process leaves what no owner is there to take: rows of the inbox, many in one write.

A write waits behind the store's gate, so what comes in meanwhile goes out together with the next one. What was left is
remembered until its owner says that it has taken it: questions about it then go to that owner, and name how far the
inbox has to be read before they can be answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Sequence

from holdfast.errors import RunnerUnavailable
from holdfast.kit.batching import Closed, GroupCommit
from holdfast.model.inbox import Entry, InboxKind, encode_entry
from holdfast.ports.reads import InboxWriter

REMEMBERED_MAX = 10_000
"""Ids whose shard is remembered; a question about others goes to any runner."""


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


class LeftInShard:
    """The highest id that may still be in a shard's inbox, and by which write it came there.

    Ids are not written in their order, so what is known to be taken is told by a count of the writes.
    """

    __slots__ = ("by", "highest")

    def __init__(self) -> None:
        self.highest = 0
        self.by = 0


class Leavings:
    """Leaves rows, and remembers what may still be where they were left."""

    def __init__(self, writer: InboxWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._group: GroupCommit[Leaving] = GroupCommit(self._write, loop=self._loop)
        self._left: dict[int, LeftInShard] = {}
        self._shards: dict[int, int] = {}
        self.writes = 0

    def leave(self, number: int, shard: int, entry: Entry) -> asyncio.Future[None]:
        """Durable once the future is done; it fails with PersistenceError, and nothing was written then."""
        kind, body = encode_entry(entry)
        done: asyncio.Future[None] = self._loop.create_future()
        try:
            self._group.add(Leaving((number, shard, kind, body), done))
        except Closed:
            done.set_exception(RunnerUnavailable("this process is stopping"))
        return done

    @property
    def left(self) -> int:
        """The highest id that may still be in the inbox; 0 for none."""
        return max((left.highest for left in self._left.values()), default=0) if self._left else 0

    @property
    def shards(self) -> Collection[int]:
        """Those in whose inbox there may be something of this process."""
        return self._left.keys()

    def left_in(self, shards: Collection[int]) -> int:
        """The highest id that may still be in the inbox of these shards."""
        return max((left.highest for shard, left in self._left.items() if shard in shards), default=0)

    def shard_of(self, number: int) -> int | None:
        """The shard in whose inbox this message or job was left, if it was."""
        return self._shards.get(number)

    def taken(self, shards: Collection[int], writes: int) -> None:
        """The owners of these shards have taken what was left there by the first so many writes."""
        known = {shard for shard in shards if shard in self._left and self._left[shard].by <= writes}
        for shard in known:
            del self._left[shard]
        self._shards = {number: shard for number, shard in self._shards.items() if shard not in known}

    async def close(self) -> None:
        """Writes what is waiting, and no more."""
        await self._group.close()

    def _write(self, batch: Sequence[Leaving]) -> Awaitable[None]:
        return self._leave([item.entry for item in batch])

    async def _leave(self, entries: list[tuple[int, int, InboxKind, bytes]]) -> None:
        await self._writer.leave(entries)
        self.writes += 1
        for number, shard, _, _ in entries:
            left = self._left.setdefault(shard, LeftInShard())
            left.highest, left.by = max(left.highest, number), self.writes
            if len(self._shards) < REMEMBERED_MAX:
                self._shards[number] = shard
