"""What the engine hands to the shared group commit: a unit, and who is to be told about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from holdfast.model.unit import Unit
from holdfast.ports.commits import CommitItem


class Commits(Protocol):
    """The group commit that all engines of a runner share. Items are committed in the order they came."""

    def add(self, item: CommitItem, /) -> None: ...


class JobUnit:
    """A unit with two callbacks, for what is not hot; exactly one of them is called."""

    __slots__ = ("_committed", "_failed", "unit")

    def __init__(self, unit: Unit, *, committed: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        self.unit = unit
        self._committed = committed
        self._failed = failed

    @property
    def rows(self) -> int:
        return len(self.unit.rows)

    @property
    def size(self) -> int:
        return self.unit.size_bytes

    def taken(self) -> None:
        """Nothing to do: a unit of the engine is complete when it is added."""

    def committed(self) -> None:
        self._committed()

    def failed(self, error: BaseException) -> None:
        self._failed(error)
