"""What the engines hand to the runner's one group commit."""

from __future__ import annotations

from holdfast.model.unit import Unit


class CommitItem(Unit):
    """A unit that knows who is to be told about it: `taken` once a flush has it, then one of the other two."""

    __slots__ = ()

    def taken(self) -> None:
        """Most units are complete when they are added."""
        return

    def committed(self) -> None:
        """It is on disk."""
        raise NotImplementedError

    def failed(self, error: BaseException) -> None:
        """Its commit raised this."""
        raise NotImplementedError
