"""What the engine depends on, given from outside, so that a simulation can give something else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from contextvars import Context
from random import Random
from typing import NamedTuple, Protocol

from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.model.placement import Placement
from holdfast.ports.commits import Commits
from holdfast.ports.journal import Journal
from holdfast.ports.reads import InboxReader, JobReader
from holdfast.ports.territory import Territory
from holdfast.settings import JobSettings

from .door import JobDoor
from .job_type import Lane


class Everywhere:
    """The territory of a runner that is alone."""

    def serves(self, shard: int) -> bool:
        return True


EVERYWHERE = Everywhere()


def nowhere(shard: int) -> bool:
    """Nothing was left in any shard's inbox."""
    return False


class Lent(NamedTuple):
    """Free slots of another runner, for jobs of these types; `credit` is their number there."""

    credit: int
    slots: int
    types: Collection[str]


class Executors(Protocol):
    """The way to other runners, which run attempts of jobs that are ours.

    Whoever asks one that can't be reached hears a HoldfastError.
    """

    def others(self) -> Sequence[int]:
        """Those that may have slots to lend, as far as is known."""
        ...

    async def gone(self, executors: Collection[int], /) -> Collection[int]:
        """Those of them that are no runners any more, by the store. Raises PersistenceError."""
        ...

    async def borrow(self, executor: int, lane: Lane, slots: int, /) -> Lent:
        """Asks for free slots; `JobEngine.lend` there answers."""
        ...

    async def run(self, executor: int, credit: int, /) -> None:
        """Says that start records for it are stored, and that the credit is used up: `JobEngine.run_lent` there."""
        ...

    async def interrupt(self, executor: int, job: int, number: int, /) -> bool:
        """Asks for an attempt to be cancelled; `JobEngine.interrupt` there does it. It ends some time later.

        False where no such attempt runs there, not yet or no more.
        """
        ...


class Alone:
    """The executors of a runner that has no others."""

    def others(self) -> Sequence[int]:
        return ()

    async def gone(self, executors: Collection[int], /) -> Collection[int]:
        return ()

    async def borrow(self, executor: int, lane: Lane, slots: int, /) -> Lent:
        return Lent(0, 0, ())

    async def run(self, executor: int, credit: int, /) -> None: ...

    async def interrupt(self, executor: int, job: int, number: int, /) -> bool:
        return False


ALONE = Alone()


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
    left_in: Callable[[int], bool] = nowhere
    """Whether something of this process may still be in the inbox of that shard."""
    executors: Executors = ALONE
    """How attempts get to other runners, and a cancel to them; alone, they all run here."""
    context: Context = dataclasses.field(default_factory=Context)
    """What handlers' contexts are copied from: empty, since what is in ours is none of their business."""
    transaction_timeout_s: float = 10.0
    """How long a handler's own transaction may stay open."""
