"""An attempt's end on its way to the store."""

from __future__ import annotations

from typing import Protocol

from holdfast.ports.commits import CommitItem

from .attempt import Attempt
from .outcomes import AttemptEnd, Outcome


class Writer(Protocol):
    def written(self, ending: Ending, /) -> None: ...

    def refused(self, ending: Ending, error: BaseException, /) -> None: ...


class Ending(CommitItem):
    """How an attempt ended, what follows from it, and the rows that say so."""

    __slots__ = ("_writer", "attempt", "end", "finished_at", "outcome", "tries", "unsure")

    def __init__(self, writer: Writer, attempt: Attempt, end: AttemptEnd, outcome: Outcome, finished_at: int) -> None:
        self.rows = []
        self.size_bytes = 0
        self._writer = writer
        self.attempt = attempt
        self.end = end
        self.outcome = outcome
        self.finished_at = finished_at
        self.tries = 0
        self.unsure = False
        """A try to write it may have succeeded."""

    @property
    def line(self) -> int:
        return self.attempt.record.line

    def taken(self) -> None:
        self.rows += self.attempt.record.leave()

    def committed(self) -> None:
        self._writer.written(self)

    def failed(self, error: BaseException) -> None:
        self._writer.refused(self, error)
