"""Counters of running runners against their store: what is grown, what may differ, and what can't be compared."""

from __future__ import annotations

import pytest

from holdfast.admin.reconcile import EMPTY, Samples, disagreements
from holdfast.errors import RunnerUnavailable
from holdfast.metrics import MetricsService
from holdfast.model.ledger import JobCounts, Ledger
from holdfast.verify.metrics import SHARDS, Look, compared, read

NONE = JobCounts("pay", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def page(enqueued: int, completed: int) -> Samples:
    metrics = MetricsService()
    metrics.jobs.enqueued.labels(job_type="pay", operation="submit", priority="high").inc(enqueued)
    metrics.jobs.completions.labels(job_type="pay", priority="high").inc(completed)
    metrics.cluster.shards_assigned.labels().set(64)
    return read([metrics.exposition("application/openmetrics-text")[1].decode()])


def ledger(done: int) -> Ledger:
    return EMPTY._replace(jobs=(NONE._replace(completed=done, enqueued=done),))


def look(samples: Samples, before: int, after: int | None = None) -> Look:
    return Look(ledger(before), samples, 64, ledger(before if after is None else after))


def test_what_happened_in_between_is_compared() -> None:
    """The store is older than the counters."""
    findings = compared(look(page(3, 3), 1003), look(page(10, 10), 1010))
    assert disagreements(findings) == []
    assert {(one.what, one.counted, one.stored) for one in findings} >= {("completed", 7, 7), (SHARDS, 64, 64)}


def test_a_count_that_was_lost_or_doubled_is_named() -> None:
    for counted in (9, 11):
        wrong = disagreements(compared(look(page(3, 3), 1003), look(page(10, counted), 1010)))
        assert ("completed", "pay/high") in {(one.what, one.subject) for one in wrong}


def test_what_moved_while_it_was_read_may_differ_and_no_more() -> None:
    """One more was completed while the pages were read."""
    assert not disagreements(compared(look(page(3, 3), 1003), look(page(10, 10), 1010, 1011)))
    wrong = disagreements(compared(look(page(3, 3), 1003), look(page(10, 9), 1010, 1011)))
    assert "completed" in {one.what for one in wrong}


def test_a_runner_that_was_started_anew_is_said_to_be() -> None:
    with pytest.raises(RunnerUnavailable, match="started anew"):
        compared(look(page(3, 3), 1003), look(page(1, 1), 1010))


def test_pages_are_added_up() -> None:
    metrics = MetricsService()
    metrics.jobs.retries.labels(job_type='a "b"', reason="Timeout").inc(2)
    text = metrics.exposition("application/openmetrics-text")[1].decode()
    sums = {
        dict(labels)["job_type"]: value for (name, labels), value in read([text, text]).items() if "retried" in name
    }
    assert sums == {'a "b"': 4}
