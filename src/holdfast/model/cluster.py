"""Runners and shards as everybody sees them."""

from __future__ import annotations

import enum
from typing import NamedTuple


class RunnerState(enum.StrEnum):
    ACTIVE = "active"
    CORDONED = "cordoned"
    DRAINING = "draining"


class RunnerRow(NamedTuple):
    """A registered runner: one incarnation of a process, its id never used again."""

    runner_id: int
    address: str
    version: str
    types: str
    state: str
    started_at: int
    expires_at: int


class ShardRow(NamedTuple):
    """Who owns a shard of a group; `epoch` grows by one at each change of owner."""

    group: str
    number: int
    runner_id: int
    epoch: int
