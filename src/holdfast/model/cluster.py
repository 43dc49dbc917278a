"""Runners and shards as everybody sees them."""

from __future__ import annotations

import enum
from typing import NamedTuple


class RunnerState(enum.StrEnum):
    ACTIVE = "active"
    CORDONED = "cordoned"
    DRAINING = "draining"


class RunnerRow(NamedTuple):
    """A registered runner: one incarnation of a process, its id never used again.

    `types` are all it knows, `groups` the shard groups it takes shards of, `weight` its share beside others. `state`
    is what it says of itself with each renewal, `wanted` what an operator has asked of it since.
    """

    runner_id: int
    address: str
    version: str
    types: tuple[str, ...]
    groups: tuple[str, ...]
    weight: float
    state: str
    wanted: str
    started_at: int
    expires_at: int


class GroupRow(NamedTuple):
    """A shard group: its shards are `first .. first + shards - 1`, its types all that anybody declared in it."""

    name: str
    first: int
    shards: int
    types: tuple[str, ...]


class ShardRow(NamedTuple):
    """Who owns a shard, whose number is unique in the whole cluster; runner_id 0 is nobody.

    `epoch` grows by one at each change of owner.
    """

    group: str
    number: int
    runner_id: int
    epoch: int
