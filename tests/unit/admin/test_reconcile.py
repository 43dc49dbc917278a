"""Counters against ledger: what agrees, and that every kind of disagreement is named."""

from __future__ import annotations

import pytest

from holdfast.admin.reconcile import EMPTY, Finding, Samples, disagreements, reconcile
from holdfast.metrics import MetricsService
from holdfast.model.ledger import JobCounts, Ledger, MessageCounts

LABELS = {
    "jobs_enqueued_total": {"job_type": "pay", "operation": "submit", "priority": "high"},
    "jobs_completed_total": {"job_type": "pay", "priority": "high"},
    "jobs_cancelled_total": {"job_type": "pay", "operation": "cancel", "priority": "high"},
    "jobs_dead_lettered_total": {"job_type": "pay", "reason": "MaxRetries"},
    "jobs_replayed_total": {"job_type": "pay"},
    "jobs_discarded_total": {"job_type": "pay"},
    "jobs_dlq_size": {"job_type": "pay"},
    "jobs_queue_depth": {"job_type": "pay", "priority": "high"},
    "jobs_scheduled": {"job_type": "pay"},
    "jobs_running": {"job_type": "pay"},
    "cluster_redeliveries_total": {"entity_type": "Cart"},
    "cluster_dead_letters_total": {"entity_type": "Cart", "reason": "MaxRetries"},
}
NUMBERS = {
    "jobs_enqueued_total": 20, "jobs_completed_total": 9, "jobs_cancelled_total": 2, "jobs_dead_lettered_total": 3,
    "jobs_replayed_total": 1, "jobs_discarded_total": 1, "jobs_dlq_size": 1, "jobs_queue_depth": 1,
    "jobs_scheduled": 5, "jobs_running": 1, "cluster_redeliveries_total": 4, "cluster_dead_letters_total": 2,
}  # fmt: skip
JOBS = JobCounts(
    "pay", 1, scheduled=2, available=1, running=1, retrying=3, completed=9, cancelled=2, dead=3, replayed=1,
    discarded=1, enqueued=20,
)  # fmt: skip
MESSAGES = MessageCounts("Cart", pending=1, done=10, dead=2, deliveries=16, delivered_once=12)


def scrape(**changed: float) -> Samples:
    numbers = NUMBERS | changed
    return {(name, MetricsService.label(labels)): numbers[name] for name, labels in LABELS.items()}


def ledger(jobs: JobCounts = JOBS, messages: MessageCounts = MESSAGES) -> Ledger:
    return EMPTY._replace(jobs=(jobs,), messages=(messages,))


def test_a_true_run_agrees_everywhere() -> None:
    """And every rule has compared something."""
    findings = reconcile(scrape(), ledger())
    assert disagreements(findings) == []
    assert len(findings) == len(LABELS) + 2  # and the two balances


@pytest.mark.parametrize("metric", LABELS)
def test_a_number_that_is_off_by_one_is_named(metric: str) -> None:
    """Whichever it is, too high or too low."""
    for wrong in (NUMBERS[metric] + 1, NUMBERS[metric] - 1):
        found = disagreements(reconcile(scrape(**{metric: wrong}), ledger()))
        assert wrong in {finding.counted for finding in found}
        assert {finding.subject.partition("/")[0] for finding in found} <= {"pay", "Cart"}


def test_a_store_that_lost_a_job_is_found_even_if_the_counters_lost_it_too() -> None:
    """What was taken in has to be somewhere: the ledger is held against itself."""
    lost = JOBS._replace(completed=8)
    found = disagreements(reconcile(scrape(jobs_completed_total=8), ledger(lost)))
    assert {finding.what for finding in found} == {"counted as taken in", "stored as taken in"}


def test_what_the_store_held_before_is_not_held_against_new_counters() -> None:
    """A process counts from zero on a store that has seen others; gauges are of now."""
    more_jobs = JOBS._replace(enqueued=120, completed=109, dead=3, replayed=1)
    more_messages = MESSAGES._replace(deliveries=1016, delivered_once=1012)
    before = EMPTY._replace(
        jobs=(JobCounts("pay", 1, 0, 0, 0, 0, 100, 0, 0, 0, 0, 100),),
        messages=(MessageCounts("Cart", 0, 1000, 0, 1000, 1000),),
    )
    assert disagreements(reconcile(scrape(), ledger(more_jobs, more_messages), since=before)) == []


def test_jobs_that_waited_before_are_part_of_what_came_in() -> None:
    """A process that finishes what an earlier one took in completes more than it enqueues."""
    samples = scrape(jobs_enqueued_total=13)  # 7 of 20 were live when it started
    before = EMPTY._replace(jobs=(JobCounts("pay", 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7),))
    assert disagreements(reconcile(samples, ledger(), since=before)) == []


def test_a_type_that_only_one_side_knows_is_a_disagreement() -> None:
    """The other side has zero of it."""
    ghost = JOBS._replace(job_type="ghost")
    counted, stored = reconcile(scrape(), EMPTY), reconcile({}, EMPTY._replace(jobs=(ghost,)))
    assert Finding("completed", "pay/high", 9, 0) in disagreements(counted)
    assert Finding("completed", "ghost/high", 0, 9) in disagreements(stored)


def test_a_finding_reads_as_a_sentence() -> None:
    """An operator sees both numbers and which side has which."""
    assert str(Finding("completed", "pay/high", 9, 10)) == "completed of pay/high: counted 9 != stored 10"
    assert str(Finding("completed", "pay/high", 9, 9)) == "completed of pay/high: counted 9 = stored 9"
