"""What the engines hand to the runner's one group commit."""

from __future__ import annotations

from typing import Protocol

from holdfast.model.unit import Unit


class CommitItem(Protocol):
    """A unit, and who is to be told about it: `taken` once a flush has it, then one of the other two."""

    @property
    def unit(self) -> Unit: ...

    @property
    def rows(self) -> int: ...

    @property
    def size(self) -> int: ...

    def taken(self) -> None: ...

    def committed(self) -> None: ...

    def failed(self, error: BaseException) -> None: ...
