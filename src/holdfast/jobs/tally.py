"""The engine's numbers: one `Tally` per job type and priority, bound once, so that counting costs next to nothing.

Gauges of what is in memory are plain integers that a scrape reads; counters and histograms are moved after the commit
that made them true.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence

from holdfast.metrics import Labels, MetricsService
from holdfast.model.job import PRIORITIES
from holdfast.model.ledger import DeadJobs


class Depth:
    """Live jobs of one type, priority and shard that are not running. Of a shard that is given away nobody sees it."""

    __slots__ = ("due_later", "waiting")

    def __init__(self, waiting: int = 0, due_later: int = 0) -> None:
        self.waiting = waiting
        self.due_later = due_later


class Tally:
    """The numbers of one job type at one priority."""

    __slots__ = (
        "_depths", "_held", "attempts", "completed", "duration", "job_type", "labels", "meters", "priority", "process",
        "processed", "running", "submitted", "waited",
    )  # fmt: skip

    def __init__(self, metrics: MetricsService, job_type: str, priority: str, held: Container[int]) -> None:
        """`held`: the shards whose jobs are counted."""
        jobs = metrics.jobs
        self._held = held
        self._depths: dict[int, Depth] = {}
        self.job_type = job_type
        self.priority = priority
        self.labels: Labels = metrics.label(job_type=job_type, priority=priority)
        self.running = 0
        self.meters = jobs
        self.submitted = jobs.meter(operation="submit", job_type=job_type, priority=priority)
        self.process = jobs.meter(operation="process", job_type=job_type, priority=priority)
        self.processed = self.process.succeeded
        self.completed = jobs.completions.labels(job_type=job_type, priority=priority).inc
        self.duration = jobs.duration.labels(job_type=job_type, priority=priority).observe
        self.waited = jobs.wait_duration.labels(job_type=job_type, priority=priority).observe
        self.attempts = jobs.attempts.labels(job_type=job_type).observe

    def depth(self, shard: int) -> Depth:
        """What waits in a shard; of one that is not held, a count that nobody sees."""
        depth = self._depths.get(shard)
        if depth is None:
            depth = Depth()
            if shard in self._held:
                self._depths[shard] = depth
        return depth

    def forget(self, shards: Collection[int]) -> None:
        """These shards are somebody else's to count."""
        for shard in shards:
            self._depths.pop(shard, None)

    @property
    def waiting(self) -> int:
        # Read by the thread that scrapes while the loop adds: copying a dictionary's values is one step.
        return sum([depth.waiting for depth in list(self._depths.values())])

    @property
    def due_later(self) -> int:
        return sum([depth.due_later for depth in list(self._depths.values())])

    def attempt_failed(self, seconds: float, error: BaseException) -> None:
        self.process.failed(seconds, error)

    def attempt_stopped(self, seconds: float) -> None:
        """A cancel or a drain ended it, which is no failure."""
        self.process.cancelled(seconds)

    def died(self, reason: str) -> None:
        self.meters.dead_lettered.labels(job_type=self.job_type, reason=reason).inc()

    def retried(self, reason: str) -> None:
        self.meters.retries.labels(job_type=self.job_type, reason=reason).inc()

    def timed_out(self) -> None:
        self.meters.timeouts.labels(job_type=self.job_type).inc()

    def rescued(self) -> None:
        self.meters.rescued.labels(job_type=self.job_type).inc()

    def deduplicated(self) -> None:
        self.meters.deduplicated.labels(job_type=self.job_type).inc()

    def cancelled(self, seconds: float) -> None:
        """A cancel succeeded, so many seconds after it was asked for."""
        self.meters.meter(operation="cancel", job_type=self.job_type, priority=self.priority).succeeded(seconds)

    def replayed(self, seconds: float) -> None:
        self.meters.replayed.labels(job_type=self.job_type).inc()
        self.meters.meter(operation="replay", job_type=self.job_type, priority=self.priority).succeeded(seconds)


class Tallies:
    """All tallies of a runner, and the gauges that are read from them."""

    def __init__(self, metrics: MetricsService, held: Container[int]) -> None:
        self._metrics = metrics
        self._held = held
        self._tallies: dict[tuple[str, int], Tally] = {}
        self._dead: dict[str, int] = {}
        self._detach: list[Callable[[], None]] = []

    def of(self, job_type: str, priority: int) -> Tally:
        tally = self._tallies.get((job_type, priority))
        if tally is None:
            tally = self._tallies[job_type, priority] = Tally(self._metrics, job_type, PRIORITIES[priority], self._held)
        return tally

    def forget(self, shards: Collection[int]) -> None:
        """These shards are somebody else's to count."""
        for tally in self._all():
            tally.forget(shards)

    @property
    def live(self) -> int:
        """Jobs that run or could run now."""
        return sum(one.waiting + one.running for one in self._all())

    def attach(self, slots: Callable[[], Mapping[str, int]]) -> None:
        """Shows the gauges; `slots` gives the slots by state."""
        jobs = self._metrics.jobs
        self._detach = [
            jobs.queue_depth.read_with(lambda: {one.labels: one.waiting for one in self._all()}),
            jobs.running.read_with(lambda: self._by_type(lambda one: one.running)),
            jobs.scheduled.read_with(lambda: self._by_type(lambda one: one.due_later)),
            jobs.worker_slots.read_with(
                lambda: {self._metrics.label(state=state): count for state, count in slots().items()}
            ),
        ]

    def detach(self) -> None:
        """What is not looked after any more is not shown: a stopped engine has no depth, not even zero."""
        for detach in self._detach:
            detach()
        self._detach = []
        for gauge in (self._metrics.jobs.dlq_size, self._metrics.jobs.dlq_oldest_age, self._metrics.jobs.oldest_age):
            gauge.replace({})

    def died(self, job_type: str) -> None:
        self._change_dead(job_type, 1)

    def dealt_with(self, job_type: str) -> None:
        """A dead job was replayed or discarded."""
        self._change_dead(job_type, -1)

    def dead_read(self, counts: Sequence[DeadJobs], now_us: int) -> None:
        """The store was asked."""
        self._dead = {**dict.fromkeys(self._dead, 0), **{one.job_type: one.waiting for one in counts}}
        label = self._metrics.label
        self._show_dead()
        self._metrics.jobs.dlq_oldest_age.replace(
            {label(job_type=one.job_type): max(0.0, (now_us - one.oldest_at) / 1e6) for one in counts}
        )

    def dead_unread(self) -> None:
        """The store could not be asked."""
        self._metrics.jobs.dlq_size.fail()
        self._metrics.jobs.dlq_oldest_age.fail()

    def oldest(self, eligible_at: Mapping[Tally, int], now_us: int) -> None:
        """Since when the longest waiting jobs wait."""
        ages = {tally.labels: max(0.0, (now_us - at) / 1e6) for tally, at in eligible_at.items()}
        self._metrics.jobs.oldest_age.replace({**{one.labels: 0.0 for one in self._all()}, **ages})

    def _change_dead(self, job_type: str, change: int) -> None:
        self._dead[job_type] = self._dead.get(job_type, 0) + change
        self._show_dead()

    def _show_dead(self) -> None:
        label = self._metrics.label
        self._metrics.jobs.dlq_size.replace({label(job_type=name): count for name, count in self._dead.items()})

    def _all(self) -> list[Tally]:
        # Read by the thread that scrapes while the loop adds: copying a dictionary's values is one step.
        return list(self._tallies.values())

    def _by_type(self, value: Callable[[Tally], int]) -> dict[Labels, int]:
        found: dict[Labels, int] = {}
        for tally in self._all():
            labels = self._metrics.label(job_type=tally.job_type)
            found[labels] = found.get(labels, 0) + value(tally)
        return found
