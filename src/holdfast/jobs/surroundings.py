"""What the engine depends on, given from outside, so that a simulation can give something else."""

from __future__ import annotations

import dataclasses
from random import Random

from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.ports.journal import Journal
from holdfast.ports.reads import JobReader
from holdfast.settings import JobSettings

from .units import Commits


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
    transaction_timeout_s: float = 10.0
    """How long a handler's own transaction may stay open."""
