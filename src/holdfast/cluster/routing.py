"""Where a shard's owner can be reached: read from the store, and from what runners tell.

Nobody waits for routes as long as they work. Who was refused, or reached nobody, asks for a refresh; those who ask at
the same time share one reading, and readings are at least `REFRESH_EVERY_S` apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from holdfast.kit.clock import Clock
from holdfast.kit.tasks import TaskOwner
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.ports.membership import MembershipReader

from .knowledge import ShardKnowledge

REFRESH_EVERY_S = 0.2


class Routes:
    """Shard to runner. Belongs to one event loop."""

    def __init__(self, *, reader: MembershipReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._known = ShardKnowledge()
        self._runners: dict[int, RunnerRow] = {}
        self._tasks = TaskOwner("holdfast-routes")
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")

    def owner(self, shard: int) -> RunnerRow | None:
        """Who owns it as far as is known; None where nobody does, or nobody is known."""
        return self._runners.get(self._known.owner(shard))

    def runner(self, runner_id: int) -> RunnerRow | None:
        return self._runners.get(runner_id)

    @property
    def runners(self) -> tuple[RunnerRow, ...]:
        """All that are known, by ascending id."""
        return tuple(self._runners[runner_id] for runner_id in sorted(self._runners))

    @property
    def shards(self) -> tuple[ShardRow, ...]:
        """All that are known, by ascending number."""
        return tuple(self._known.rows[number] for number in sorted(self._known.rows))

    async def find(self, shard: int) -> RunnerRow | None:
        """As `owner`, but where none is known the store is asked first. Raises PersistenceError."""
        owner = self.owner(shard)
        if owner is None:
            await self.refresh()
            owner = self.owner(shard)
        return owner

    async def refresh(self) -> None:
        """Returns when the store has been read; the reading may have begun a moment before. Raises PersistenceError."""
        if self._reading is None or self._reading.done():
            self._reading = self._tasks.start(self._read(), name="refresh")
        await asyncio.shield(self._reading)

    def replace_runners(self, runners: Iterable[RunnerRow]) -> None:
        """These are all the runners there are."""
        self._runners = {row.runner_id: row for row in runners}

    def learn(self, shards: Iterable[ShardRow], runners: Iterable[RunnerRow] = ()) -> None:
        """Takes in what somebody said of some shards, and of the runners that own them; late words change nothing."""
        self._known.learn(shards)
        for row in runners:
            self._runners.setdefault(row.runner_id, row)

    async def close(self) -> None:
        await self._tasks.stop()

    async def _read(self) -> None:
        wait_s = self._read_at + REFRESH_EVERY_S - self._clock.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        self._read_at = self._clock.monotonic()
        shards = await self._reader.shards()  # before the runners, so that each owner named is among them or gone
        runners = await self._reader.runners()
        self.learn(shards)
        self.replace_runners(runners)
