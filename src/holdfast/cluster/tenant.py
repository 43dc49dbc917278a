"""Who lives on the shards, as the cluster package sees it, and what runners tell each other about them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from holdfast.model.cluster import RunnerRow, ShardRow


class Tenant(Protocol):
    """What works on the shards of this runner."""

    async def adopt(self, shards: Collection[int]) -> None:
        """Reads what is stored for these shards and takes it up; they are served when it returns.

        May be called again for shards for which it raised, or which were held back or released, also without success,
        and not given away after all.
        """
        ...

    async def hold_back(self, shards: Collection[int]) -> None:
        """Nothing that is left in the store for these shards is begun any more when it returns. They are still served:
        what comes in from elsewhere does go on."""
        ...

    def busy(self, shards: Collection[int]) -> Collection[int]:
        """Those of them for which something is being done right now whose end `release` would have to wait for."""
        ...

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        """Ends what is under way for these shards, which were held back and are served no more, and forgets them.

        Handlers get `timeout_s` to end and are cancelled then. When it returns, no write of this runner for these
        shards is under way, and none follows. May be called again for shards for which it raised.
        """
        ...

    def departed(self) -> None:
        """Another incarnation has ended; what it still did for these shards is over."""
        ...

    async def lost(self) -> None:
        """This incarnation was reaped: whatever runs is cancelled, nothing is written any more, nobody is answered."""
        ...


class HandOver(NamedTuple):
    """One runner tells another: this shard is yours now, as the row says; nobody has served it for so long."""

    row: ShardRow
    closed_s: float


Notify = Callable[[RunnerRow, Sequence[HandOver]], None]
"""Sends it to that runner, which calls `Ownership.handed`. May fail to arrive: the store says the same."""
