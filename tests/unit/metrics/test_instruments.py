"""Instruments: their schema, their threads, their limit, and gauges that are read."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from holdfast.metrics import MetricsService, Outcome, label
from holdfast.metrics.cardinality import FOLDED_MAX, OTHER, folded, offender

T = TypeVar("T")


def elsewhere(call: Callable[[], T]) -> T:
    """The call's result, from a thread that does not own the service."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_the_same_labels_give_the_same_child() -> None:
    """In any order, by any door, cleaned or not."""
    metrics = MetricsService()
    child = metrics.cluster.errors.labels(entity_type="Cart", type="MailboxFull")
    assert metrics.cluster.errors.labels(type="MailboxFull", entity_type="Cart\n") is child
    assert metrics.cluster.errors.at(label(type="MailboxFull", entity_type="Cart")) is child


def test_a_label_that_is_not_in_the_schema_is_refused_by_name() -> None:
    """The schema of a metric is fixed; a missing label is absent, a strange one is a mistake."""
    metrics = MetricsService()
    with pytest.raises(ValueError, match="_errors_total has no label tenant; its labels are: entity_type, type"):
        metrics.inc(metrics.cluster.errors, label(tenant="x"))
    metrics.inc(metrics.cluster.errors)
    assert metrics.snapshot() == {("cluster_errors_total", frozenset()): 1}


def test_threads_other_than_the_owner_get_children_of_their_own() -> None:
    """Locked ones, shared by all of them; reading adds both."""
    metrics = MetricsService()
    mine = metrics.jobs.timeouts.labels(job_type="mail")
    theirs = elsewhere(lambda: metrics.jobs.timeouts.labels(job_type="mail"))
    assert theirs is not mine
    assert elsewhere(lambda: metrics.jobs.timeouts.labels(job_type="mail")) is theirs
    mine.inc(2)
    theirs.inc(3)
    elsewhere(lambda: metrics.observe(metrics.jobs.duration, label(job_type="mail"), 1.0))
    metrics.observe(metrics.jobs.duration, label(job_type="mail"), 2.0)
    assert metrics.value("jobs_timeouts_total", job_type="mail") == 5
    assert metrics.value("jobs_duration_seconds_sum", job_type="mail") == 3.0
    assert metrics.value("jobs_duration_seconds_bucket", job_type="mail", le="1.0") == 1


def test_a_gauge_has_one_child_for_all_threads() -> None:
    """Two parts of a value that is set cannot be added."""
    metrics = MetricsService()
    metrics.cluster.entities.labels().set(5)
    elsewhere(lambda: metrics.cluster.entities.labels().set(3))
    assert metrics.value("cluster_entities_total") == 3


def test_ownership_moves_and_no_count_is_lost() -> None:
    """The former owner's child still counts; the new owner gets another, and both are read."""
    metrics = MetricsService()
    before = metrics.jobs.timeouts.labels(job_type="mail")
    before.inc()

    def take_over() -> bool:
        metrics.own_thread()
        metrics.own_thread()
        child = metrics.jobs.timeouts.labels(job_type="mail")
        child.inc(10)
        return child is not before and type(child) is type(before)

    assert elsewhere(take_over)
    before.inc()
    metrics.inc(metrics.jobs.timeouts, label(job_type="mail"), 100)
    assert metrics.value("jobs_timeouts_total") == 112


def test_counting_from_many_threads_at_once_loses_nothing() -> None:
    """By the door that looks the child up each time, which any thread may use."""
    metrics = MetricsService()

    def work(number: int) -> None:
        for turn in range(300):
            metrics.inc(metrics.cluster.errors, label(entity_type=f"T{turn % 7}", type="X"))
            metrics.gauge(metrics.cluster.entities, label(), 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
        work(4)
    assert metrics.value("cluster_errors_total") == 1500
    assert metrics.value("cluster_entities_total") == 1500


def test_too_many_series_fold_the_offending_label() -> None:
    """The user label with the most values becomes `__other__`; the bounded ones stay true, the overflow is counted."""
    metrics = MetricsService(series_max=10)
    for number in range(50):
        metrics.cluster.message_latency.labels(entity_type=f"Type{number}", operation="send").observe(0.1)
    metrics.cluster.message_latency.labels(entity_type="Late", operation="receive").observe(0.1)
    counts = {dict(key[1])["entity_type"]: 0 for key in metrics.snapshot() if key[0].endswith("_count")}
    assert len(counts) == 11
    value = metrics.value
    assert value("cluster_message_latency_seconds_count", entity_type=OTHER, operation="send") == 40
    assert value("cluster_message_latency_seconds_count", entity_type=OTHER, operation="receive") == 1
    assert value("cluster_messages_sent_total") == 50
    assert value("metrics_overflow_total", metric="cluster_message_latency_seconds") == 41


def test_a_known_series_is_not_folded_when_the_metric_is_full() -> None:
    """Whoever came first keeps its name, in the other threads too."""
    metrics = MetricsService(series_max=1)
    metrics.inc(metrics.jobs.timeouts, label(job_type="first"))
    metrics.inc(metrics.jobs.timeouts, label(job_type="second"))
    elsewhere(lambda: metrics.inc(metrics.jobs.timeouts, label(job_type="first")))
    assert metrics.value("jobs_timeouts_total", job_type="first") == 2
    assert metrics.value("jobs_timeouts_total", job_type=OTHER) == 1


def test_only_the_offender_is_folded_while_that_helps() -> None:
    """An error class from a hostile library does not cost the entity types their names."""
    metrics = MetricsService(series_max=20)
    for number in range(40):
        metrics.inc(metrics.cluster.errors, label(entity_type=f"Type{number % 3}", type=f"Error{number}"))
    assert metrics.value("cluster_errors_total", entity_type="Type1", type=OTHER) > 0
    assert metrics.value("cluster_errors_total") == 40


def test_no_flood_gets_past_the_hard_limit() -> None:
    """Free text in every label, closed ones included: all of it ends in one series."""
    metrics = MetricsService(series_max=10)
    for number in range(1000):
        metrics.inc(metrics.jobs.enqueued, label(job_type=f"j{number}", operation=f"o{number}", priority=f"p{number}"))
        metrics.inc(metrics.cluster.errors, label(entity_type=f"e{number}", type=f"t{number}"))
    for name in ("jobs_enqueued_total", "cluster_errors_total"):
        assert metrics.value(name) == 1000
        assert sum(key[0] == name for key in metrics.snapshot()) <= 10 + 2 * FOLDED_MAX + 1


def test_folding_keeps_the_absent_absent() -> None:
    """An empty value says nothing, before and after."""
    assert folded(("a", "", "c"), [0, 1]) == (OTHER, "", "c")
    assert offender([("a", "x"), ("a", "y")], [0, 1]) == 1


def test_gauges_are_read_at_the_scrape() -> None:
    """One value or values by labels; several readers add up, and one that is detached is not asked."""
    metrics = MetricsService()
    metrics.cluster.shards.read_with(lambda: 64)
    detach = metrics.jobs.dlq_size.read_with(lambda: {label(job_type="mail"): 2, label(job_type="bill"): 1})
    metrics.jobs.dlq_size.read_with(lambda: {label(job_type="mail"): 5})
    assert metrics.value("cluster_shards_total") == 64
    assert metrics.value("jobs_dlq_size", job_type="mail") == 7
    detach()
    detach()
    assert metrics.value("jobs_dlq_size") == 5


def test_readers_of_a_gauge_that_takes_the_maximum() -> None:
    """The catalogue says how values of one label set become one."""
    metrics = MetricsService()
    metrics.jobs.oldest_age.read_with(lambda: {label(job_type="mail"): 3.0})
    metrics.jobs.oldest_age.read_with(lambda: {label(job_type="mail"): 8.0})
    assert metrics.value("jobs_oldest_age_seconds") == 8.0


@pytest.mark.parametrize("found", [{label(tenant="x"): 1}, {label(job_type="x"): "many"}, "many", None])
def test_a_read_that_fails_shows_nothing_and_is_counted(found: object) -> None:
    """Never a false zero: the series are missing, the error is in the same scrape."""
    metrics = MetricsService()
    metrics.jobs.dlq_size.read_with(lambda: found)  # type: ignore[arg-type,return-value]
    metrics.jobs.queue_depth.labels(job_type="x", priority="high").set(4)
    body = metrics.exposition()[1].decode()
    assert "\njobs_dlq_size" not in body
    assert 'metrics_collector_errors_total{collector="jobs_dlq_size"} 1\n' in body
    assert 'jobs_queue_depth{job_type="x",priority="high"} 4\n' in body
    with pytest.raises(LookupError, match="jobs_dlq_size"):
        metrics.value("jobs_dlq_size")


def test_values_read_on_a_timer_are_replaced_as_a_whole_or_dropped() -> None:
    """A type that is gone does not stay with its last value; a failed read takes all away and is counted."""
    metrics = MetricsService()
    metrics.jobs.queue_depth.replace({label(job_type="a", priority="low"): 1, label(job_type="b", priority="low"): 2})
    metrics.jobs.queue_depth.replace({label(job_type="b", priority="low"): 3})
    assert metrics.value("jobs_queue_depth") == 3
    metrics.jobs.queue_depth.fail()
    with pytest.raises(LookupError):
        metrics.value("jobs_queue_depth")
    assert metrics.value("metrics_collector_errors_total", collector="jobs_queue_depth") == 1


def test_a_reader_cannot_flood_a_gauge() -> None:
    """The limit holds for what is read as well, and the sum stays true."""
    metrics = MetricsService(series_max=10)
    metrics.jobs.dlq_size.read_with(lambda: {label(job_type=f"j{number}"): 1 for number in range(100)})
    shown = metrics.jobs.dlq_size.read()
    assert len(shown) == 11
    assert sum(shown.values()) == 100


def test_derived_counters_are_part_of_every_reading() -> None:
    """Of the instrument, of the service and of the snapshot; what is counted by hand is added."""
    metrics = MetricsService()
    metrics.cluster.message_latency.ended(Outcome.OK, entity_type="Cart", operation="send").observe(0.1)
    metrics.inc(metrics.cluster.messages_sent, label(entity_type="Cart", operation="send"), 2)
    labels = label(entity_type="Cart", operation="send")
    assert metrics.cluster.messages_sent.value(entity_type="Cart") == 3
    assert metrics.value("cluster_messages_sent_total") == 3
    assert metrics.snapshot()["cluster_messages_sent_total", labels] == 3
