"""One call per operation: what it counts, and what follows from it."""

import asyncio
from itertools import pairwise

import pytest

from holdfast.metrics import MetricsService, label


class MailboxFull(Exception):
    reason = "MailboxFull"


@pytest.mark.parametrize(
    ("operation", "counter"),
    [("send", "cluster_messages_sent_total"), ("receive", "cluster_messages_received_total"), ("broadcast", None)],
)
def test_every_operation_on_entities_counts_its_own(operation: str, counter: str | None) -> None:
    """Success counts sent or received, a broadcast neither; the duration is observed whatever the outcome."""
    metrics = MetricsService()
    meter = metrics.cluster.meter(operation=operation, entity_type="Cart")  # type: ignore[arg-type]
    for _ in range(3):
        meter.succeeded(0.01)
    meter.failed(0.2, MailboxFull())
    meter.failed(0.2, KeyError())
    meter.cancelled(2.0)
    of = {"entity_type": "Cart", "operation": operation}
    value = metrics.value
    for name in ("cluster_messages_sent_total", "cluster_messages_received_total"):
        assert value(name) == (3 if name == counter else 0)
    assert [value("cluster_operations_total", **of, outcome=one) for one in ("ok", "error", "cancelled")] == [3, 2, 1]
    assert value("cluster_message_latency_seconds_count", **of) == 6
    assert value("cluster_message_latency_seconds_sum", **of) == pytest.approx(2.43)
    assert value("cluster_errors_total", entity_type="Cart", type="MailboxFull") == 1
    assert value("cluster_errors_total", entity_type="Cart", type="KeyError") == 1


@pytest.mark.parametrize("operation", ["process", "cancel", "replay"])
def test_every_operation_on_jobs_counts_its_own(operation: str) -> None:
    """A cancel that succeeded is a cancellation; what follows from a process or a replay the engine counts."""
    metrics = MetricsService()
    meter = metrics.jobs.meter(operation=operation, job_type="mail", priority="high")  # type: ignore[call-overload]
    meter.succeeded(0.01)
    meter.succeeded(0.01)
    meter.failed(0.5, ValueError())
    meter.cancelled(0.5)
    of = {"job_type": "mail", "operation": operation, "priority": "high"}
    value = metrics.value
    assert value("jobs_cancelled_total", **of) == (2 if operation == "cancel" else 0)
    assert value("jobs_processing_seconds_count", **of) == 4
    assert value("jobs_failed_total", job_type="mail", reason="ValueError") == 1
    assert value("jobs_operations_total", job_type="mail", operation=operation, outcome="ok") == 2
    for name in ("enqueued", "completed", "retried", "dead_lettered"):
        assert value(f"jobs_{name}_total") == 0


def test_a_submit_counts_what_it_brought() -> None:
    """One, a batch of five, and a duplicate that brought none."""
    metrics = MetricsService()
    meter = metrics.jobs.meter(operation="submit", job_type="mail")
    meter.succeeded(0.01)
    meter.succeeded(0.01, accepted=5)
    meter.succeeded(0.01, 0)
    meter.failed(0.01, ValueError())
    meter.cancelled(0.01)
    assert metrics.value("jobs_enqueued_total", job_type="mail", operation="submit") == 6
    assert metrics.value("jobs_operations_total", operation="submit", outcome="ok") == 3
    assert metrics.value("jobs_processing_seconds_count", operation="submit") == 5
    assert metrics.value("jobs_failed_total", reason="ValueError") == 1


def test_an_operation_nobody_knows_is_refused() -> None:
    """By name, at the call."""
    metrics = MetricsService()
    with pytest.raises(ValueError, match="sumbit"):
        metrics.jobs.meter(operation="sumbit", job_type="x")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="process"):
        metrics.cluster.meter(operation="process", entity_type="x")  # type: ignore[arg-type]


def test_no_counter_ever_goes_backwards_while_it_is_read() -> None:
    """Derived counters are sums of parts that only grow: read in another thread, each reading is at least the last."""
    metrics = MetricsService()
    meter = metrics.cluster.meter(operation="send", entity_type="Cart")
    names = ("cluster_messages_sent_total", "cluster_operations_total", "cluster_message_latency_seconds_count")
    errors = label(entity_type="Cart", operation="send", outcome="error")

    def watch() -> list[tuple[float, ...]]:
        return [
            (*(metrics.value(name) for name in names), metrics.snapshot().get((names[1], errors), 0))
            for _ in range(150)
        ]

    async def main() -> list[tuple[float, ...]]:
        watching = asyncio.ensure_future(asyncio.to_thread(watch))
        while not watching.done():
            for _ in range(50):
                meter.succeeded(0.001)
                meter.failed(0.001, ValueError())
            await asyncio.sleep(0)
        return await watching

    seen = asyncio.run(main())
    for before, after in pairwise(seen):
        assert all(later >= earlier for earlier, later in zip(before, after, strict=True))
    assert seen[-1][0] > seen[0][0]
