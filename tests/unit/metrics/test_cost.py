"""What the metrics cost, held against prometheus-client in the same breath, so that a slow machine fails nobody.

The figures themselves are printed by `benchmarks/metrics_cost.py`.
"""

import time
import timeit
import tracemalloc
from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest

from holdfast.metrics import BOUNDARIES, MetricsService


def ratio(theirs: Callable[[], object], ours: Callable[[], object], number: int, rounds: int = 7) -> float:
    """How many times our CPU time theirs is, each at its best, measured in turns."""
    timers = [timeit.Timer(call, timer=time.process_time) for call in (theirs, ours)]
    runs = [[timer.timeit(number) for timer in timers] for _ in range(rounds)]
    best = [min(times) for times in zip(*runs, strict=True)]
    return best[0] / best[1]


def test_counting_costs_a_third_of_prometheus_client_at_most() -> None:
    """An increment, an observation in the first and in a later bucket."""
    metrics, registry = MetricsService(), CollectorRegistry()
    counter = metrics.jobs.timeouts.labels(job_type="mail")
    histogram = metrics.cluster.message_latency.labels(entity_type="Cart", operation="send")
    their_counter = prometheus_client.Counter("a", "a", ["t"], registry=registry).labels("mail")
    their_histogram = prometheus_client.Histogram(
        "b", "b", ["t", "o"], registry=registry, buckets=BOUNDARIES.cluster
    ).labels("Cart", "send")
    assert ratio(their_counter.inc, counter.inc, 5000) > 3
    for seconds in (0.0005, 0.03):
        found = ratio(lambda s=seconds: their_histogram.observe(s), lambda s=seconds: histogram.observe(s), 5000)
        assert found > 2.5, seconds


def test_a_scrape_costs_a_third_of_prometheus_client_at_most() -> None:
    """Of as many counters with the same labels."""
    metrics, registry = MetricsService(series_max=5000), CollectorRegistry()
    their_counter = prometheus_client.Counter("a", "a", ["entity_type", "type"], registry=registry)
    for number in range(2000):
        metrics.cluster.errors.labels(entity_type=f"Type{number}", type="MailboxFull").inc()
        their_counter.labels(f"Type{number}", "MailboxFull").inc()
    assert ratio(lambda: generate_latest(registry), metrics.exposition, 1) > 3


def bytes_each(fresh: Callable[[], Callable[[int], object]], count: int) -> float:
    """Memory that stays, each, with everything that belongs to a series: the least of three, since what other threads
    allocate meanwhile is traced too.
    """
    return min(_bytes_each(fresh(), count) for _ in range(3))


def _bytes_each(make: Callable[[int], object], count: int) -> float:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(count):
        make(number)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


def test_a_counter_child_takes_at_most_250_bytes() -> None:
    """With its label values and its place in the metric."""

    def fresh() -> Callable[[int], object]:
        timeouts = MetricsService().jobs.timeouts
        return lambda number: timeouts.labels(job_type=f"job_{number}").inc(1000)

    assert bytes_each(fresh, 2000) <= 250


def test_a_histogram_child_takes_at_most_600_bytes() -> None:
    """With numbers of some size in every bucket."""

    def fresh() -> Callable[[int], object]:
        latency = MetricsService().cluster.message_latency

        def make(number: int) -> None:
            child = latency.labels(entity_type=f"Type{number}", operation="send")
            for bound in (*BOUNDARIES.cluster, 10.0):
                for _ in range(300):
                    child.observe(bound)

        return make

    assert bytes_each(fresh, 200) <= 600


def test_a_meter_costs_what_its_observation_costs() -> None:
    """A whole send is one call; nothing else runs."""
    metrics = MetricsService()
    meter = metrics.cluster.meter(operation="send", entity_type="Cart")
    child = metrics.cluster.message_latency.labels(entity_type="Cart", operation="send")
    assert meter.succeeded == child.observe


def test_importing_opens_nothing_and_starts_nothing() -> None:
    """No thread, no registration in anybody's registry: all begins with a service."""
    import subprocess
    import sys

    program = (
        "import threading, prometheus_client as p; before = len(list(p.REGISTRY.collect()));"
        "import holdfast.metrics; print(threading.active_count(), len(list(p.REGISTRY.collect())) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]
