"""Who runs, and who owns what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from holdfast.model.cluster import RunnerRow, ShardRow


class Registration(NamedTuple):
    """What a runner says of itself when it registers."""

    address: str
    version: str
    types: tuple[str, ...]
    lease_ttl_us: int


class MembershipReader(Protocol):
    """What anybody may know; as the store has it, which for a runner that was killed is its last word."""

    async def runners(self) -> Sequence[RunnerRow]: ...

    async def shards(self) -> Sequence[ShardRow]: ...


class Membership(MembershipReader, Protocol):
    async def register(self, registration: Registration) -> int:
        """Makes a new incarnation and returns its runner id.

        An embedded store admits one runner: rows of earlier incarnations are reaped here, since the caller
        holds the runner lock. Where there were any, they did not leave in order, and a crash is counted for what may
        have been running: the first due message of each entity, but of messages with crashes already only the first.
        Raises StoreUnavailable when another process holds it.
        """
        ...

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> bool:
        """Extends the lease on the store's clock; False when the incarnation was reaped."""
        ...

    async def claim(self, runner_id: int, *, group: str, shards: int) -> Sequence[ShardRow]:
        """Takes every shard of the group that nobody alive owns, each with its epoch raised; returns all it owns.

        `shards` is the count for a group not seen before; a recorded count wins.
        """
        ...

    async def leave(self, runner_id: int) -> None:
        """Ends the incarnation in order: its row and its ownership go."""
        ...
