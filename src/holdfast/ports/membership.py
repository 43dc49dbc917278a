"""Who runs, and who owns what.

Leases run on the store's clock, but only a reaper ends an incarnation: until then a renewal is valid however late it
comes, because nobody has taken anything. A shard changes its owner in three ways only: it is claimed while nobody owns
it, its owner hands it over, or its owner's incarnation ends. Each claim and each hand-over raises its epoch by one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from holdfast.model.cluster import GroupRow, RunnerRow, ShardRow


class Registration(NamedTuple):
    """What a runner says of itself when it registers."""

    address: str
    version: str
    types: tuple[str, ...]
    groups: tuple[str, ...]
    weight: float
    lease_ttl_us: int


class Renewal(NamedTuple):
    """What a renewal brings back: the store's clock at that moment, and all runners, oneself with the new lease."""

    now_us: int
    runners: tuple[RunnerRow, ...]


class LeaseLine(Protocol):
    """How a lease is kept: a line to the store for this alone, so that nothing else can hold a renewal up.

    Belongs to the event loop it was opened on.
    """

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> Renewal | None:
        """Extends the lease on the store's clock; None when the incarnation was reaped. May be sent again.

        Raises PersistenceError where the store refused or did not answer in a third of `lease_ttl_us`.
        """
        ...

    async def close(self) -> None:
        """Works twice."""
        ...


class MembershipReader(Protocol):
    """What anybody may know; as the store has it, which for a runner that was killed is its last word."""

    async def runners(self) -> Sequence[RunnerRow]:
        """By ascending id."""
        ...

    async def shards(self) -> Sequence[ShardRow]:
        """By ascending number."""
        ...

    async def groups(self) -> Sequence[GroupRow]:
        """By their first shard."""
        ...


class MembershipDesk(MembershipReader, Protocol):
    """What an operator may ask, from any process."""

    async def now_us(self) -> int:
        """The clock that leases run on, in microseconds since the epoch."""
        ...

    async def want(self, runner_id: int, state: str) -> bool:
        """Notes what an operator asks of a runner (a RunnerState), which reads it with its next renewal.

        False when there is no such runner.
        """
        ...


class Membership(MembershipDesk, Protocol):
    async def register(self, registration: Registration) -> int:
        """Makes a new incarnation and returns its runner id; this store writes as this one from now on.

        An embedded store admits one runner: all earlier incarnations are reaped here, since the caller holds the runner
        lock. A store for several ends only the incarnation that this same store registered before, if any. Raises
        StoreUnavailable when another process holds an embedded store.
        """
        ...

    async def ensure_groups(self, wanted: Mapping[str, tuple[int, Collection[str]]]) -> Sequence[GroupRow]:
        """Makes the groups that are missing, with (shards, types) as given, and returns all there are.

        A recorded count of shards wins; types that a recorded group lacks are added to it. New shards belong to nobody.
        """
        ...

    async def claim(self, runner_id: int, shards: Collection[int]) -> Sequence[ShardRow]:
        """Takes those of the shards that nobody owns, and returns them. Raises FencedOut when reaped."""
        ...

    async def hand_over(self, runner_id: int, shards: Collection[int], to: int) -> Sequence[ShardRow]:
        """Gives those of the shards that `runner_id` still owns to a runner whose lease is valid.

        Returns those that moved, as they are now; none where the receiver's lease has ended.
        """
        ...

    async def reap(self, *, ended_by_us: int | None = None) -> Sequence[int]:
        """Ends every incarnation whose lease has run out, one after another, and returns their ids.

        `ended_by_us`: none whose lease ends later than that, whatever the store's clock shows: it may just have jumped.
        All or nothing for each: its writes are fenced out, nobody owns its shards, and what may have been running gets
        one crash more. That is, in its shards the first due message of each entity, but of those with crashes already
        only the first; and the jobs whose attempt stands in a start record of its, whoever owns them: their
        `last_error` is CRASHED then, and the records are gone.
        """
        ...

    async def leave(self, runner_id: int) -> None:
        """Ends the incarnation in order: its row, its ownership and its start records go; nothing counts as a crash."""
        ...
