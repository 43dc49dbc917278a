"""A user's own open transaction, as a place where something can be left for the owner of a shard.

What is left is a row of the inbox, written with the user's own writes: it is there if and when they commit, and the
owner hears of it then. Nothing here begins, commits, rolls back or repeats anything.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from holdfast.model.cluster import GroupRow
from holdfast.model.inbox import InboxKind

KnownGroups = MutableMapping[str, Sequence[GroupRow]]
"""The shard groups of each store by its cluster id; filled as they are read."""


class Visit(NamedTuple):
    """What the store told: a fresh id, the time on its clock in microseconds, and its shard groups."""

    number: int
    now_us: int
    groups: Sequence[GroupRow]


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to be left: `compose` makes the (shard, kind, body) of the row once the store has told what it must.

    `group` is the shard group it is for.
    """

    group: str
    compose: Callable[[Visit], tuple[int, InboxKind, bytes]]


class BlockingConnection(Protocol):
    """A connection of a driver that blocks; used in the thread that calls."""

    def leave(self, letter: Letter, known: KnownGroups) -> int:
        """Writes the row and returns its id, which nobody else gets whether or not the transaction commits.

        Raises StoreUnavailable where the connection's database holds no store, or one that lacks the group; UsageError
        where its file is open here as a store; and whatever the driver raises for a statement that fails.
        """
        ...


class AwaitedConnection(Protocol):
    """A connection of an asynchronous driver; belongs to the event loop it was opened on."""

    async def leave(self, letter: Letter, known: KnownGroups) -> int:
        """As for `BlockingConnection`."""
        ...
