"""What the engine hands to the shared group commit: a unit, and who is to be told about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast.model.unit import Unit
from holdfast.ports.commits import CommitItem


class Commits(Protocol):
    """The group commit that all engines of a runner share. Items are committed in the order they came."""

    def add(self, item: CommitItem, /) -> None: ...


class JobUnit(CommitItem):
    """A unit with two callbacks, for what is not hot; exactly one of them is called."""

    __slots__ = ("_committed", "_failed")

    def __init__(self, unit: Unit, *, committed: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        self.rows, self.size_bytes = unit.rows, unit.size_bytes
        self._committed = committed
        self._failed = failed

    def committed(self) -> None:
        self._committed()

    def failed(self, error: BaseException) -> None:
        self._failed(error)
