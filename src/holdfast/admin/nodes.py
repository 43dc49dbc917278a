"""Runners as their operators see them, and what these may ask of one: to take nothing more, or to give everything away.

A wish stands in the runner's row; it is read with the next renewal, a third of a lease later at most, and obeyed by the
runner itself. It belongs to the incarnation: a process that starts anew is active.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from holdfast.errors import RunnerUnavailable
from holdfast.model.cluster import RunnerRow, RunnerState, ShardRow
from holdfast.model.ids import SECOND_US
from holdfast.ports.membership import MembershipDesk

NOBODY = 0
LOOK_S = 0.25
"""Seconds between two looks at a runner that gives its shards away."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One look; `now_us` is the clock that leases run on."""

    now_us: int
    runners: Sequence[RunnerRow]
    shards: Sequence[ShardRow]

    @cached_property
    def owned(self) -> Counter[int]:
        """Shards by runner; 0 is nobody."""
        return Counter(shard.runner_id for shard in self.shards)

    def valid(self, runner: RunnerRow) -> bool:
        """Whether its lease has not run out; who was killed stays registered until another one reaps it."""
        return runner.expires_at > self.now_us

    def lease_left_s(self, runner: RunnerRow) -> float:
        """Below zero for one that is over."""
        return (runner.expires_at - self.now_us) / SECOND_US

    def runner(self, runner_id: int) -> RunnerRow | None:
        return next((row for row in self.runners if row.runner_id == runner_id), None)

    def at(self, address: str) -> RunnerRow | None:
        """The runner of this address; of several the youngest, since the others can't live any more."""
        return max((row for row in self.runners if row.address == address), default=None)

    def ranges(self) -> dict[tuple[int, str], str]:
        """By owner and group the numbers of the shards, in few words: `0-20, 40`."""
        numbers: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        for shard in self.shards:
            numbers[shard.runner_id, shard.group].append(shard.number)
        return {place: in_ranges(found) for place, found in sorted(numbers.items())}

    def takers(self, giver: RunnerRow) -> list[RunnerRow]:
        """Who may take shards that the giver has."""
        groups = {shard.group for shard in self.shards if shard.runner_id == giver.runner_id}
        return [row for row in self.runners if row.runner_id != giver.runner_id and self._takes(row, groups)]

    def _takes(self, row: RunnerRow, groups: set[str]) -> bool:
        return self.valid(row) and {row.state, row.wanted} == {RunnerState.ACTIVE} and not groups.isdisjoint(row.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How far a runner has come with giving its shards away."""

    left: int
    """Shards it still owns."""
    gone: bool
    """It is not registered any more, or its lease is over."""
    alone: bool
    """Nobody is there who could take what is left."""

    @property
    def done(self) -> bool:
        return self.gone or not self.left


async def look(desk: MembershipDesk) -> Cluster:
    """Raises PersistenceError."""
    runners, shards = await desk.runners(), await desk.shards()
    return Cluster(now_us=await desk.now_us(), runners=runners, shards=shards)


async def ask(desk: MembershipDesk, runner_id: int, state: RunnerState) -> None:
    """Notes the wish. Raises RunnerUnavailable where there is no such runner."""
    if not await desk.want(runner_id, state):
        raise RunnerUnavailable(f"no runner {runner_id} is registered")


async def until_drained(desk: MembershipDesk, runner_id: int, *, timeout_s: float) -> Drained:
    """Returns when the runner owns nothing or is gone, when nobody can take the rest, or after `timeout_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        found = drained(await look(desk), runner_id)
        if found.done or found.alone or loop.time() >= deadline:
            return found
        await asyncio.sleep(min(LOOK_S, max(0.0, deadline - loop.time())))


def drained(cluster: Cluster, runner_id: int) -> Drained:
    """As this look has it. It is alone only once it has heard what is wanted of it."""
    row, left = cluster.runner(runner_id), cluster.owned[runner_id]
    if row is None or not cluster.valid(row):
        return Drained(left=left, gone=True, alone=False)
    heard = left > 0 and row.state == RunnerState.DRAINING
    return Drained(left=left, gone=False, alone=heard and not cluster.takers(row))


def in_ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in few words."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
