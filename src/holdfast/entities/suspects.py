"""Messages that were there when a runner died: one of them runs at a time, so that only the guilty one dies again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .durable import DurableTurn


class Suspects:
    """The suspects of one runner, in the order they came."""

    def __init__(self, *, start: Callable[[DurableTurn], None], hold_back: Callable[[DurableTurn], None]) -> None:
        """`hold_back` keeps a suspect, and what comes behind it, until `start` is called with it."""
        self._start = start
        self._hold_back = hold_back
        self._waiting: deque[DurableTurn] = deque()
        self._running: DurableTurn | None = None

    def __contains__(self, turn: object) -> bool:
        """Whether it waits for another suspect to end."""
        return turn in self._waiting

    def enter(self, turn: DurableTurn) -> None:
        """Starts it, or keeps it until those before it have ended."""
        self._waiting.append(turn)
        if self._running is not None:
            self._hold_back(turn)
        self._next()

    def ended(self, turn: DurableTurn) -> None:
        """To be called for every message that has an outcome, or is forgotten."""
        if turn is self._running:
            self._running = None
            self._next()

    def _next(self) -> None:
        while self._waiting and self._waiting[0].abandoned:
            self._waiting.popleft()
        if self._running is None and self._waiting:
            self._running = self._waiting.popleft()
            self._start(self._running)
