"""Whether the counters of a process and the ledger of its store tell the same story.

The counters begin at zero with the process, the ledger with the store: so the ledger is read twice, and what happened
in between is held against the counters. Gauges are held against the second reading alone. Each comparison is a
`Finding` with both numbers, by type, and by priority where both sides know it.

    enqueued, completed, cancelled      by job type and priority
    dead, replayed, discarded           by job type
    dead letters waiting                gauge, by job type
    waiting, due later, running         gauges, by job type
    where jobs went                     enqueued + replayed = completed + cancelled + dead + live, by job type; once by
                                        the counters (live: their gauges), once by the ledger itself
    redeliveries, dead messages         by entity type

It holds for processes that are alone on the store and at rest: what is between its commit and its count is on one side
only. Where they are not at rest, two numbers may differ by as much as the store's moved while both were read. What
leaves no row (failed attempts, volatile messages, duplicates) can't be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from holdfast.metrics import Labels
from holdfast.model.job import PRIORITIES
from holdfast.model.ledger import JobCounts, Ledger, MessageCounts

Samples = Mapping[tuple[str, Labels], float]
"""The samples of a scrape, by name and labels; `MetricsService.snapshot()` gives them."""

EMPTY = Ledger(jobs=(), messages=(), entities_stored=0, inbox=0, counted_by={})
Window = tuple[Ledger, Ledger]


class Finding(NamedTuple):
    """One comparison: what was compared, of which type, the two numbers, and by how much they may differ."""

    what: str
    subject: str
    counted: float
    stored: float
    slack: float = 0

    @property
    def agrees(self) -> bool:
        return abs(self.counted - self.stored) <= self.slack

    def __str__(self) -> str:
        sign = "!=" if not self.agrees else "=" if self.counted == self.stored else "~"
        return f"{self.what} of {self.subject}: counted {self.counted:g} {sign} stored {self.stored:g}"


Key = tuple[str, ...]
Numbers = Mapping[Key, float]
TYPE = ("job_type",)
TYPE_AND_PRIORITY = ("job_type", "priority")


@dataclass(frozen=True, slots=True)
class JobRule:
    """A metric and what the store knows of the same thing."""

    what: str
    metric: str
    stored: Callable[[JobCounts], int]
    labels: tuple[str, ...] = TYPE


COUNTERS = (
    JobRule("enqueued", "jobs_enqueued_total", lambda one: one.enqueued, TYPE_AND_PRIORITY),
    JobRule("completed", "jobs_completed_total", lambda one: one.completed, TYPE_AND_PRIORITY),
    JobRule("cancelled", "jobs_cancelled_total", lambda one: one.cancelled, TYPE_AND_PRIORITY),
    JobRule("dead", "jobs_dead_lettered_total", lambda one: one.dead),
    JobRule("replayed", "jobs_replayed_total", lambda one: one.replayed),
    JobRule("discarded", "jobs_discarded_total", lambda one: one.discarded),
)
GAUGES = (
    JobRule("dead letters waiting", "jobs_dlq_size", lambda one: one.dlq_size),
    JobRule("waiting", "jobs_queue_depth", lambda one: one.available),
    JobRule("due later", "jobs_scheduled", lambda one: one.scheduled + one.retrying),
    JobRule("running", "jobs_running", lambda one: one.running),
)
CAME_IN = ("jobs_enqueued_total", "jobs_replayed_total")
WENT = (
    "jobs_completed_total", "jobs_cancelled_total", "jobs_dead_lettered_total",
    "jobs_queue_depth", "jobs_scheduled", "jobs_running",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MessageRule:
    """The same for durable messages."""

    what: str
    metric: str
    stored: Callable[[MessageCounts], int]


MESSAGES = (
    MessageRule("redeliveries", "cluster_redeliveries_total", lambda one: one.deliveries - one.delivered_once),
    MessageRule("dead messages", "cluster_dead_letters_total", lambda one: one.dead),
)


def reconcile(samples: Samples, now: Ledger, *, since: Ledger = EMPTY, windows: Sequence[Window] = ()) -> list[Finding]:
    """Every comparison, agreeing or not.

    `since` is the ledger as it was when the counters began. `windows`: the ledger before and after each reading of the
    samples, where it may have moved meanwhile.
    """
    found: list[Finding] = []
    for rule in COUNTERS:
        stored = partial(_of_jobs, value=rule.stored, labels=rule.labels)
        grown, moved = _grown(stored(now), stored(since)), _moved(stored, windows)
        found += _compared(rule.what, _summed(samples, rule.metric, rule.labels), grown, moved)
    activity = _moved(_activity, windows)
    for rule in GAUGES:
        found += _compared(rule.what, _summed(samples, rule.metric, TYPE), _of_jobs(now, rule.stored), activity)
    found += _balance(samples, now, since, activity)
    for message in MESSAGES:
        stored = partial(_of_messages, value=message.stored)
        grown, moved = _grown(stored(now), stored(since)), _moved(stored, windows)
        found += _compared(message.what, _summed(samples, message.metric, ("entity_type",)), grown, moved)
    return found


def disagreements(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.agrees]


def _balance(samples: Samples, now: Ledger, since: Ledger, activity: Numbers) -> Iterator[Finding]:
    """Every job that came in went somewhere: by the counters, then by the ledger."""
    came = _added(_of_jobs(since, lambda one: one.live), *(_summed(samples, metric, TYPE) for metric in CAME_IN))
    went = _added(*(_summed(samples, metric, TYPE) for metric in WENT))
    yield from _compared("counted as taken in", came, went, activity)
    yield from _compared(
        "stored as taken in",
        _of_jobs(now, lambda one: one.enqueued + one.replayed),
        _of_jobs(now, lambda one: one.completed + one.cancelled + one.dead + one.live),
        {},
    )


def _compared(what: str, counted: Numbers, stored: Numbers, moved: Numbers) -> Iterator[Finding]:
    """A number that one side does not know is a zero there: it has never moved."""
    for key in sorted(counted.keys() | stored.keys()):
        yield Finding(what, "/".join(key), counted.get(key, 0), stored.get(key, 0), moved.get(key, 0))


def _summed(samples: Samples, metric: str, labels: tuple[str, ...]) -> Numbers:
    sums: dict[Key, float] = {}
    for (name, pairs), value in samples.items():
        if name == metric:
            known = dict(pairs)
            key = tuple(known.get(label, "") for label in labels)
            sums[key] = sums.get(key, 0) + value
    return sums


def _of_jobs(ledger: Ledger, value: Callable[[JobCounts], int], labels: tuple[str, ...] = TYPE) -> Numbers:
    sums: Counter[Key] = Counter()
    for one in ledger.jobs:
        sums[(one.job_type, PRIORITIES[one.priority])[: len(labels)]] += value(one)
    return sums


def _of_messages(ledger: Ledger, value: Callable[[MessageCounts], int]) -> Numbers:
    return {(one.entity_type,): value(one) for one in ledger.messages}


def _grown(now: Numbers, since: Numbers) -> Numbers:
    return {key: now.get(key, 0) - since.get(key, 0) for key in now.keys() | since.keys()}


def _moved(stored: Callable[[Ledger], Numbers], windows: Sequence[Window]) -> Numbers:
    changes = ({key: abs(by) for key, by in _grown(stored(after), stored(before)).items()} for before, after in windows)
    return _added(*changes)


def _activity(ledger: Ledger) -> Numbers:
    """Of each job type, how far it has come in all: what a change of any of its counts changes."""
    return _of_jobs(ledger, lambda one: one.enqueued + one.replayed + one.completed + one.cancelled + one.dead)


def _added(*parts: Numbers) -> Numbers:
    return {key: sum(part.get(key, 0) for part in parts) for key in {key for part in parts for key in part}}
