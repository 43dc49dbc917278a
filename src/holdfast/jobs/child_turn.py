"""The turn of a handler that runs in a process of its own: it knows its job, and joins nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from holdfast.errors import HandlerEnded, UsageError
from holdfast.model.unit import Row


class ChildTurn:
    """What doors and `job_context()` find there."""

    __slots__ = ("_say", "ended", "job", "number")

    def __init__(self, job: int, number: int, say: Callable[[float | None, str | None], None]) -> None:
        self.job = job
        self.number = number
        self.ended = False
        self._say = say

    @property
    def rows(self) -> Sequence[Row] | None:
        """Nothing, ever."""
        return None

    def progress(self, value: float | None, text: str | None) -> None:
        self._say(value, text)

    def check_open(self) -> None:
        """Raises HandlerEnded once the attempt has ended."""
        if self.ended:
            raise HandlerEnded(f"attempt {self.number} of job {self.job} has ended: nothing joins it now")

    def stage(self, row: Row, size_bytes: int = 0) -> None:
        """Raises UsageError: what is to commit with the job has to run where the job's owner is."""
        self.refuse("send and submit")

    def after_commit(self, act: Callable[[], None]) -> None:
        self.refuse("send and submit")

    def refuse(self, what: str) -> NoReturn:
        raise UsageError(f"a handler in a process of its own can't {what}: return the values and do it in another job")
