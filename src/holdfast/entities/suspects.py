"""Messages that were there when a runner died: one of them runs at a time, so that only the guilty one dies again.

A start record names it, on the disk before it runs and until it has ended. Of suspects a reaper counts a crash for who
stands there alone: a runner that dies again and again before it has come so far charges nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from holdfast.errors import FencedOut, PersistenceError
from holdfast.kit.tasks import TaskOwner
from holdfast.model.job import EndStart, StartRecord, pack_attempts

from .durable import DurableTurn
from .insisting import AGAIN_S, until_answered
from .surroundings import Surroundings
from .units import Committer


class Suspects:
    """The suspects of one runner, in the order they came."""

    def __init__(
        self,
        around: Surroundings,
        *,
        committer: Committer,
        tasks: TaskOwner,
        start: Callable[[DurableTurn], None],
        hold_back: Callable[[DurableTurn], None],
    ) -> None:
        """`hold_back` keeps a suspect, and what comes behind it, until `start` is called with it."""
        self._around = around
        self._committer = committer
        self._tasks = tasks
        self._start = start
        self._hold_back = hold_back
        self._waiting: deque[DurableTurn] = deque()
        self._running: DurableTurn | None = None
        self._record: int | None = None

    def enter(self, turn: DurableTurn) -> None:
        """Keeps it until those before it have ended and its record is written, then starts it."""
        self._waiting.append(turn)
        self._hold_back(turn)
        self._next()

    def ended(self, turn: DurableTurn) -> None:
        """To be called for every message that has an outcome, or is forgotten."""
        if turn is self._running:
            record, self._running, self._record = self._record, None, None
            if record is not None:
                self._take_away(record)
            self._next()

    def _next(self) -> None:
        while self._waiting and self._waiting[0].abandoned:
            self._waiting.popleft()
        if self._running is None and self._waiting:
            self._running = turn = self._waiting.popleft()
            self._tasks.start(self._begin(turn), name=f"start of {turn.row.id}")

    async def _begin(self, turn: DurableTurn) -> None:
        record = await self._recorded(turn)
        if self._running is turn:
            self._record = record
            self._start(turn)
        else:
            self._take_away(record)

    async def _recorded(self, turn: DurableTurn) -> int:
        """The id of its record, once that is written. Raises FencedOut where this runner was reaped."""
        me, pair = self._around.runner_id, pack_attempts([(turn.row.id, turn.row.crashes)])
        while True:
            record = await until_answered(self._around.ids.take)
            try:
                row = StartRecord(record, me, me, pair, self._around.clock.now_us())
                await self._committer.written(record, [row])
            except FencedOut:
                raise
            except PersistenceError:
                await asyncio.sleep(AGAIN_S)
            else:
                return record

    def _take_away(self, record: int) -> None:
        """Where that fails it stays, and speaks of nothing: what has ended is not there, or has no crashes."""
        self._committer.write(record, [EndStart(record)], 0, _nothing, _nothing)


def _nothing(*_: object) -> None:
    pass
