"""Which runner should own which shard. Pure: whoever has read the same rows comes to the same plan.

A plan is made per shard group, in three steps.

1. *Shares.* Each runner that may take shards gets its weight's part of the group, rounded down or up: up where it has
   more already (that saves a move), else by a hash.
2. *Keeping.* A runner keeps what it owns, up to its share. This is why as few shards move as a balanced plan allows.
3. *Placing.* What nobody owns, and what is beyond a share, goes to those who have room: each free place is a point on
   a ring, and a shard takes the next free one after its own point. Runners whose rows differ for a moment thus differ
   about few shards; the store decides between them, and the next look at it brings them together.

Who may take shards of a group has a valid lease, is active, hosts the group and knows all types in it. Others hold on
to what they have (cordoned; a lease that has ended and was not reaped yet), or up to a share of it (a runner of an
older version, which does not know a new type: so the first upgraded runner of many is not given all of them at once),
or give all of it away (draining; a group it does not host). While nobody may take anything, everybody keeps all.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from holdfast.model.cluster import GroupRow, RunnerRow, RunnerState

from .knowledge import NOBODY

ALGORITHM = 1
"""Runners of one cluster have to agree on it; one that plans differently gets another number.

With the second one the number is recorded with each registration (a column of the store whose default is 1, which is
what runners of this version then have), a plan is made by the lowest number there is, and the old way stays until then.
A test pins the plans of each number.
"""

WEIGHT_UNITS = 1000
"""Weights count in thousandths, so that shares are whole numbers and the same on every machine."""


class Role(enum.Enum):
    """What a runner does with the shards of one group."""

    TAKES = "takes"
    KEEPS_A_SHARE = "keeps a share"
    KEEPS = "keeps"
    GIVES = "gives"


def assign(
    runners: Iterable[RunnerRow], groups: Iterable[GroupRow], current: Mapping[int, int], *, now_us: int
) -> dict[int, int]:
    """For each shard the runner that should own it, 0 where nobody may.

    `current` says who owns it now (0, or a runner without a row: nobody); `now_us` is the store's clock.
    """
    rows = sorted(runners, key=lambda row: row.runner_id)
    plan: dict[int, int] = {}
    for group in groups:
        plan.update(_GroupPlan(rows, group, current, now_us).made())
    return plan


def state_of(row: RunnerRow) -> RunnerState:
    """What the runner does and what its operator wants, whichever takes it further away from work."""
    said = {row.state, row.wanted}
    if RunnerState.DRAINING in said:
        return RunnerState.DRAINING
    return RunnerState.CORDONED if RunnerState.CORDONED in said else RunnerState.ACTIVE


def role_of(row: RunnerRow, group: GroupRow, *, now_us: int) -> Role:
    """What this runner does with shards of this group."""
    if row.expires_at <= now_us:
        return Role.KEEPS
    if group.name not in row.groups or _units(row) == 0:
        return Role.GIVES
    match state_of(row):
        case RunnerState.DRAINING:
            return Role.GIVES
        case RunnerState.CORDONED:
            return Role.KEEPS
        case RunnerState.ACTIVE:
            return Role.TAKES if set(group.types) <= set(row.types) else Role.KEEPS_A_SHARE


def shares(weights: Mapping[int, int], total: int, loads: Mapping[int, int], name: str) -> dict[int, int]:
    """`total` shards by weight, each share its exact part rounded down or up; their sum is `total`."""
    whole = sum(weights.values())
    exact = {runner: divmod(total * weight, whole) for runner, weight in weights.items()}
    found = {runner: floor for runner, (floor, _) in exact.items()}
    uneven = [runner for runner, (_, rest) in exact.items() if rest]
    uneven.sort(key=lambda runner: (loads[runner] <= found[runner], _point(name, runner)))
    for runner in uneven[: total - sum(found.values())]:
        found[runner] += 1
    return found


class _GroupPlan:
    """One group's plan while it is made."""

    def __init__(self, rows: Sequence[RunnerRow], group: GroupRow, current: Mapping[int, int], now_us: int) -> None:
        self._group = group
        self._roles = {row.runner_id: role_of(row, group, now_us=now_us) for row in rows}
        self._weights = {row.runner_id: _units(row) for row in rows}
        self._owned: dict[int, list[int]] = {row.runner_id: [] for row in rows}
        self._homeless: list[int] = []
        for shard in range(group.first, group.first + group.shards):
            self._owned.get(current.get(shard, NOBODY), self._homeless).append(shard)

    def made(self) -> dict[int, int]:
        takers = self._with(Role.TAKES)
        if not takers:
            return self._as_it_is()
        targets = self._targets(takers)
        plan: dict[int, int] = {}
        moving = self._homeless
        for runner, shards in self._owned.items():
            keeps = targets.get(runner, len(shards))
            if keeps < len(shards):
                shards = sorted(shards, key=lambda shard: _point(self._group.name, shard))
                moving = moving + shards[keeps:]
            plan.update(dict.fromkeys(shards[:keeps], runner))
        room = {runner: targets[runner] - len(self._owned[runner]) for runner in takers}
        plan.update(_place(moving, room))
        return plan

    def _with(self, *roles: Role) -> list[int]:
        return [runner for runner, role in self._roles.items() if role in roles]

    def _as_it_is(self) -> dict[int, int]:
        plan = dict.fromkeys(self._homeless, NOBODY)
        for runner, shards in self._owned.items():
            plan.update(dict.fromkeys(shards, runner))
        return plan

    def _targets(self, takers: Sequence[int]) -> dict[int, int]:
        """How many shards each should have; who is not in it keeps all it has."""
        left = self._group.shards - sum(len(self._owned[runner]) for runner in self._with(Role.KEEPS))
        even = self._shares(self._with(Role.TAKES, Role.KEEPS_A_SHARE), left)
        older = {r: min(len(self._owned[r]), even[r]) for r in self._with(Role.KEEPS_A_SHARE)}
        givers = dict.fromkeys(self._with(Role.GIVES), 0)
        return self._shares(takers, left - sum(older.values())) | older | givers

    def _shares(self, runners: Sequence[int], total: int) -> dict[int, int]:
        loads = {runner: len(self._owned[runner]) for runner in runners}
        return shares({runner: self._weights[runner] for runner in runners}, total, loads, self._group.name)


def _place(shards: Iterable[int], room: Mapping[int, int]) -> dict[int, int]:
    """Each shard on the next free place of the ring; there are as many places as shards."""
    places = sorted((_point(runner, place), runner) for runner, free in room.items() for place in range(free))
    points = [point for point, _ in places]
    following = list(range(1, len(places) + 1))  # from a taken place, where to look next; made shorter on the way
    taken = bytearray(len(places))
    plan: dict[int, int] = {}
    for shard in shards:
        start = bisect_left(points, _point("shard", shard)) % len(places)
        found = _next_free(start, taken, following)
        taken[found] = True
        plan[shard] = places[found][1]
    return plan


def _next_free(start: int, taken: bytearray, following: list[int]) -> int:
    found = start
    passed: list[int] = []
    while taken[found]:
        passed.append(found)
        found = following[found] % len(taken)
    for place in passed:
        following[place] = found
    return found


def _units(row: RunnerRow) -> int:
    return max(0, round(row.weight * WEIGHT_UNITS))


def _point(one: object, other: object) -> int:
    """Where on the ring; the same in every process."""
    return int.from_bytes(blake2b(f"{one}\0{other}".encode(), digest_size=8).digest())
