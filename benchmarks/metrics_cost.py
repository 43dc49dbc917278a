"""What do the metrics cost: to count, to scrape, and in memory?

Run it with `python benchmarks/metrics_cost.py` (`--json` for machines). Every figure is a median of CPU time on this
machine and, where it makes sense, has prometheus-client's beside it from the same run; the ratio says more than
either, since both share whatever else the machine is doing.
"""

import argparse
import json
import platform
import statistics
import sys
import threading
import time
import timeit
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest

from holdfast.metrics import BOUNDARIES, MetricsService, scrape

SERIES = 10_000
ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    what: str
    unit: str
    holdfast: float
    prometheus_client: float | None = None
    at_most: float | None = None

    @property
    def times(self) -> float | None:
        """How many times prometheus-client's figure is ours."""
        return self.prometheus_client / self.holdfast if self.prometheus_client and self.holdfast else None


def nanoseconds(*calls: Callable[[], object], number: int = 20_000) -> list[float]:
    """Median CPU time of one of each call, run in turns so that all meet the same noise.

    The call of an empty function is part of each figure, as it is of every use.
    """
    timers = [timeit.Timer("call()", globals={"call": call}, timer=time.process_time) for call in calls]
    return _medians([[timer.timeit(number) / number * 1e9 for timer in timers] for _ in range(3 * ROUNDS)])


def observing(seconds: float, *observers: Callable[[float], None], number: int = 20_000) -> list[float]:
    """The same for an observation of this many seconds."""
    setup = {"s": seconds}
    timers = [timeit.Timer("see(s)", globals={"see": see, **setup}, timer=time.process_time) for see in observers]
    return _medians([[timer.timeit(number) / number * 1e9 for timer in timers] for _ in range(3 * ROUNDS)])


def milliseconds(*calls: Callable[[], object]) -> list[float]:
    """Median CPU time of one of each call, in turns."""
    timers = [timeit.Timer(call, timer=time.process_time) for call in calls]
    return _medians([[timer.timeit(1) * 1e3 for timer in timers] for _ in range(ROUNDS)])


def _medians(rounds: list[list[float]]) -> list[float]:
    return [statistics.median(found) for found in zip(*rounds, strict=True)]


def counting() -> list[Figure]:
    """An increment and an observation, each on a bound child."""
    metrics, theirs = MetricsService(), CollectorRegistry()
    counter = metrics.cluster.redeliveries.labels(entity_type="Cart")
    histogram = metrics.cluster.message_latency.labels(entity_type="Cart", operation="send")
    meter = metrics.cluster.meter(operation="send", entity_type="Cart")
    their_counter = prometheus_client.Counter("a", "a", ["entity_type"], registry=theirs).labels("Cart")
    their_histogram = prometheus_client.Histogram(
        "b", "b", ["entity_type", "operation"], registry=theirs, buckets=BOUNDARIES.cluster
    ).labels("Cart", "send")
    empty, ours, theirs_ns = nanoseconds(lambda: None, counter.inc, their_counter.inc)
    figures = [Figure("(call of an empty function)", "ns", empty)]
    figures.append(Figure("counter increment", "ns", ours, theirs_ns, 100))
    for seconds, where in ((0.0004, "first bucket"), (0.03, "third bucket"), (3.0, "seventh bucket")):
        ours, theirs_ns = observing(seconds, histogram.observe, their_histogram.observe)
        figures.append(Figure(f"histogram observation, {where}", "ns", ours, theirs_ns, 200))
    (ours,) = observing(0.0004, meter.succeeded)
    figures.append(Figure("meter.succeeded: a whole send", "ns", ours))
    (ours,) = nanoseconds(metrics.track_cluster(operation="send", entity_type="Cart")(lambda: None))
    figures.append(Figure("track_cluster around a function", "ns", ours))
    return figures


def filled_with_counters() -> tuple[MetricsService, CollectorRegistry]:
    """As many counters in both, with the same labels."""
    metrics, theirs = MetricsService(series_max=2 * SERIES), CollectorRegistry()
    their_counter = prometheus_client.Counter("a", "a", ["entity_type", "type"], registry=theirs)
    for number in range(SERIES):
        metrics.cluster.errors.labels(entity_type=f"Type{number}", type="MailboxFull").inc(number)
        their_counter.labels(f"Type{number}", "MailboxFull").inc(number)
    return metrics, theirs


def filled_with_histograms() -> tuple[MetricsService, CollectorRegistry]:
    """As many lines in both, from histograms."""
    metrics, theirs = MetricsService(), CollectorRegistry()
    their_histogram = prometheus_client.Histogram(
        "b", "b", ["entity_type"], registry=theirs, buckets=BOUNDARIES.cluster
    )
    for number in range(SERIES // (len(BOUNDARIES.cluster) + 3)):
        metrics.cluster.mailbox_wait.labels(entity_type=f"Type{number}").observe(0.03)
        their_histogram.labels(f"Type{number}").observe(0.03)
    return metrics, theirs


def scraping() -> list[Figure]:
    """A scrape of ten thousand lines, and what the event loop's thread feels of it."""
    figures: list[Figure] = []
    for what, fill in (("counters", filled_with_counters), ("histograms", filled_with_histograms)):
        metrics, theirs = fill()
        name = f"scrape of {SERIES:,} lines of {what}"
        text, openmetrics, theirs_ms = milliseconds(
            metrics.exposition,
            lambda service=metrics: service.exposition("application/openmetrics-text"),
            lambda registry=theirs: generate_latest(registry),
        )
        figures.append(Figure(name, "ms", text, theirs_ms, 20))
        figures.append(Figure(f"{name}, OpenMetrics", "ms", openmetrics, at_most=20))
        held = held_up(metrics.exposition), held_up(lambda registry=theirs: generate_latest(registry))
        figures.append(Figure("  longest stretch between two of its pauses", "ms", longest_stretch(metrics), at_most=1))
        figures.append(Figure("  longest wait of a busy thread meanwhile", "ms", *held))
    quiet = held_up(lambda: time.sleep(0.01))
    figures.append(Figure("  (the same beside a thread that does nothing)", "ms", quiet))
    return figures


def held_up(scrape: Callable[[], object]) -> float:
    """Milliseconds another thread, busy as an event loop is, waited at worst while one scrape ran; median of runs.

    The machine's own pauses are part of it, as the line beside a thread that does nothing shows.
    """
    return statistics.median(_longest_gap_ms(scrape) for _ in range(ROUNDS))


def longest_stretch(metrics: MetricsService) -> float:
    """Milliseconds of CPU time a scrape in a thread of its own holds the interpreter at worst; median of runs."""
    return statistics.median(_longest_stretch_ms(metrics) for _ in range(ROUNDS))


def _longest_stretch_ms(metrics: MetricsService) -> float:
    looks: list[float] = []
    step_back = scrape.step_back

    def look_and_step_back() -> None:
        looks.append(time.thread_time())
        step_back()

    def run() -> None:
        looks.append(time.thread_time())
        metrics.exposition()
        looks.append(time.thread_time())

    thread = threading.Thread(target=run)
    scrape.step_back = look_and_step_back
    try:
        thread.start()
        thread.join()
    finally:
        scrape.step_back = step_back
    return max(after - before for before, after in pairwise(looks)) * 1e3


def _longest_gap_ms(scrape: Callable[[], object]) -> float:
    thread = threading.Thread(target=scrape)
    worst, last = 0.0, time.perf_counter()
    thread.start()
    while thread.is_alive():
        now = time.perf_counter()
        worst, last = max(worst, now - last), now
    thread.join()
    return worst * 1e3


def remembering() -> list[Figure]:
    """Memory of one more series with everything that belongs to it: child, label values, place in the dict."""
    metrics, theirs, count = MetricsService(series_max=SERIES), CollectorRegistry(), 2_000
    names = [f"Type{number}" for number in range(count)]
    their_counter = prometheus_client.Counter("a", "a", ["entity_type"], registry=theirs)
    their_histogram = prometheus_client.Histogram(
        "b", "b", ["entity_type", "operation"], registry=theirs, buckets=BOUNDARIES.cluster
    )

    def counters() -> None:
        for name in names:
            metrics.cluster.redeliveries.labels(entity_type=name).inc(1000)

    def histograms() -> None:
        for name in names:
            child = metrics.cluster.message_latency.labels(entity_type=name, operation="send")
            for bound in (*BOUNDARIES.cluster, 10.0):
                child.observe(bound)

    def their_counters() -> None:
        for name in names:
            their_counter.labels(name).inc(1000)

    def their_histograms() -> None:
        for name in names:
            child = their_histogram.labels(name, "send")
            for bound in (*BOUNDARIES.cluster, 10.0):
                child.observe(bound)

    return [
        Figure("counter child", "bytes", bytes_each(counters, count), bytes_each(their_counters, count), 250),
        Figure("histogram child", "bytes", bytes_each(histograms, count), bytes_each(their_histograms, count), 600),
    ]


def bytes_each(make: Callable[[], None], count: int) -> float:
    """Memory that stays allocated after making so many, each."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    make()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


def shown(figure: Figure) -> str:
    """One line of the table."""
    beside = f"{figure.prometheus_client:10.1f}" if figure.prometheus_client is not None else " " * 10
    ratio = f"x{figure.times:.1f}" if figure.times is not None else ""
    limit = f"<= {figure.at_most:g}" if figure.at_most is not None else ""
    return f"{figure.what:62} {figure.holdfast:9.1f} {figure.unit:6} {beside}  {ratio:7} {limit}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    machine = f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}, {sys.platform}"
    figures = [*counting(), *scraping(), *remembering()]
    if as_json:
        rows = [{**asdict(figure), "times": figure.times} for figure in figures]
        print(json.dumps({"question": "cost of metrics", "machine": machine, "figures": rows}))
        return
    print("What do the metrics cost: to count, to scrape, and in memory?")
    print(f"{machine}; medians of {ROUNDS} runs, CPU time\n")
    print(f"{'':62} {'holdfast':>9} {'':6} {'prom-client':>10}  ratio   limit")
    for figure in figures:
        print(shown(figure))


if __name__ == "__main__":
    main()
