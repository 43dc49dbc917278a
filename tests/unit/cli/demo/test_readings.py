"""Rates and quantiles from two snapshots."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from holdfast.cli.demo.readings import cumulated, quantile, reading, total
from holdfast.cli.demo.view import Lines, milliseconds, view_for
from holdfast.metrics import MetricsService


def test_a_quantile_is_where_prometheus_would_put_it() -> None:
    """Evenly spread within its bucket; above the last finite bound there is nothing better than that bound."""
    buckets = [(0.01, 0.0), (0.1, 50.0), (1.0, 100.0), (float("inf"), 100.0)]
    assert quantile(buckets, 0.5) == pytest.approx(0.1)
    assert quantile(buckets, 0.25) == pytest.approx(0.055)
    assert quantile(buckets, 0.99) == pytest.approx(0.982)
    assert quantile([(0.1, 1.0), (float("inf"), 100.0)], 0.5) == 0.1


@pytest.mark.parametrize("buckets", [[], [(0.1, 0.0), (float("inf"), 0.0)]])
def test_nothing_observed_has_no_quantile(buckets: list[tuple[float, float]]) -> None:
    """Not zero: a dash on the screen."""
    assert quantile(buckets, 0.5) is None
    assert milliseconds(None) == "-"


def test_series_of_a_histogram_are_added_before_the_quantile_is_taken() -> None:
    """A quantile of two types is not the mean of their quantiles."""
    metrics = MetricsService()
    for kind, seconds in (("a", 0.003), ("b", 0.3)):
        for _ in range(10):
            metrics.cluster.meter(operation="send", entity_type=kind).succeeded(seconds)
    found = dict(cumulated(metrics.snapshot(), "cluster_message_latency_seconds", {"operation": "send"}))
    assert (found[0.01], found[0.5]) == (10, 20)


def test_rates_are_differences_over_the_time_between() -> None:
    """Totals stay totals."""
    metrics = MetricsService()
    done = metrics.jobs.completions.labels(job_type="pay", priority="high")
    done.inc(10)
    before = metrics.snapshot()
    done.inc(30)
    found = reading(metrics.snapshot(), before, seconds=60.0, since_s=2.0)
    assert (found.jobs_per_s, found.jobs, found.messages_per_s) == (15.0, 40, 0.0)
    assert total(metrics.snapshot(), "jobs_completed_total", job_type="other") == 0


def test_a_pipe_gets_a_line_for_each_look() -> None:
    """The title first, with the address of the metrics."""
    lines: list[str] = []
    view = Lines(lines.append, "shop, metrics at http://127.0.0.1:1/metrics")
    view.show(reading({}, {}, seconds=1.0, since_s=1.0))
    view.close()
    assert lines[0].startswith("shop, metrics at") and len(lines) == 2 and lines[1].lstrip().startswith("1.0 s")


def test_a_terminal_gets_a_table_that_ends_with_the_last_look() -> None:
    """Latencies among it, and the terminal as it was afterwards."""
    screen = io.StringIO()
    view = view_for(Console(file=screen, force_terminal=True, width=100), title="shop", quiet=False)
    view.show(reading({}, {}, seconds=61.0, since_s=1.0))
    view.close()
    shown = screen.getvalue()
    assert "61 s" in shown and "event loop lag" in shown
    assert shown.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_nothing_is_shown_where_the_answer_is_a_document() -> None:
    """`--json` has standard output for itself."""
    screen = io.StringIO()
    view = view_for(Console(file=screen, force_terminal=True), title="shop", quiet=True)
    view.show(reading({}, {}, seconds=1.0, since_s=1.0))
    view.close()
    assert screen.getvalue() == ""
