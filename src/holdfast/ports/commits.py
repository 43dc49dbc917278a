"""What the engines hand to the runner's group commit."""

from __future__ import annotations

from typing import Protocol

from holdfast.model.unit import Unit


class CommitItem(Unit):
    """A unit that knows who is to be told about it: `taken` once a flush has it, then one of the other two."""

    __slots__ = ()

    @property
    def line(self) -> int:
        """Units of one line are committed in the order they come, those of different lines in any order.

        About entities it is the number of their shard, about attempts that of their start record. What is handed in
        once everything that it rests on is known to be committed needs none.
        """
        return 0

    @property
    def urgent(self) -> bool:
        """Goes before all others, where a store works on several commits at a time, and needs no line."""
        return False

    def taken(self) -> None:
        """Most units are complete when they are added."""
        return

    def committed(self) -> None:
        """It is on disk."""
        raise NotImplementedError

    def failed(self, error: BaseException) -> None:
        """Its commit raised this."""
        raise NotImplementedError


class Commits(Protocol):
    """The group commit that all engines of a runner share."""

    def add(self, item: CommitItem, /) -> None:
        """Takes the item into the next flush. Raises kit.batching.Closed once the runner has stopped writing."""
        ...

    @property
    def busy(self) -> bool:
        """Whether something waits for a flush, or a flush is in flight."""
        ...

    async def settled(self) -> None:
        """Returns when it is known what became of everything that has come until now."""
        ...

    async def drain(self) -> None:
        """Returns when nothing waits any more and no flush is in flight."""
        ...
