"""What the engine depends on, given from outside, so that a simulation can give something else."""

from __future__ import annotations

import dataclasses
from contextvars import Context
from random import Random
from typing import Protocol

from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.model.placement import Placement
from holdfast.ports.journal import Journal
from holdfast.ports.reads import InboxReader, JobReader
from holdfast.ports.territory import Territory
from holdfast.settings import JobSettings

from .door import JobDoor
from .units import Commits


class Everywhere:
    """The territory of a runner that is alone."""

    def serves(self, shard: int) -> bool:
        return True


EVERYWHERE = Everywhere()


class Executors(Protocol):
    """The way to other runners that still run attempts of jobs that are ours by now."""

    async def interrupt(self, executor: int, job: int, number: int, /) -> None:
        """Asks `executor` to cancel the attempt; `JobEngine.interrupt` there does it. It ends some time later.

        Raises HoldfastError where the executor can't be reached.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """One runner's, for as long as it lives. `clock`'s wall time is the store's, or close to it."""

    commits: Commits
    """The group commit that all engines of the runner share; it writes to `journal`."""
    journal: Journal
    reader: JobReader
    ids: IdPool
    clock: Clock
    random: Random
    wheel: DeadlineWheel
    metrics: MetricsService
    settings: JobSettings
    runner_id: int
    """This incarnation, as owner and as executor."""
    placement: Placement
    inbox: InboxReader
    """Where the ends of attempts are found that run on other runners."""
    territory: Territory = EVERYWHERE
    elsewhere: JobDoor | None = None
    """Where submits and requests go whose shard is not served here; without one they are refused."""
    executors: Executors | None = None
    """How a cancel reaches an attempt on another runner; without it the answer is "requested"."""
    context: Context = dataclasses.field(default_factory=Context)
    """What handlers' contexts are copied from: empty, since what is in ours is none of their business."""
    transaction_timeout_s: float = 10.0
    """How long a handler's own transaction may stay open."""
