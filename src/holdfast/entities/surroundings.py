"""What the engine depends on, given from outside, so that a simulation can give something else."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.ports.commits import Commits
from holdfast.ports.journal import Journal
from holdfast.ports.reads import MessageReader
from holdfast.ports.territory import Territory
from holdfast.settings import EntitySettings

from .door import Link
from .entity_type import EntityType
from .shards import EVERYTHING


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """One runner's, for as long as it lives. `clock`'s wall time is the store's, or close to it."""

    types: Mapping[type[Any], EntityType]
    link: Link
    group: Commits
    """The group commit that all engines of the runner share; it writes to `journal`."""
    journal: Journal
    reader: MessageReader
    ids: IdPool
    clock: Clock
    random: Random
    wheel: DeadlineWheel
    metrics: MetricsService
    settings: EntitySettings
    shard_of: Callable[[Address], int]
    runner_id: int
    """This incarnation."""
    loop: asyncio.AbstractEventLoop
    territory: Territory = EVERYTHING
    """Which shards this runner serves at this moment; the same object for all engines of the runner."""
