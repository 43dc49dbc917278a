from collections.abc import AsyncIterator
from typing import assert_type

from prometheus_client import CollectorRegistry

from holdfast.metrics import (
    BOUNDARIES,
    Counter,
    CounterChild,
    Gauge,
    GaugeChild,
    Histogram,
    HistogramChild,
    Labels,
    MetricsService,
    OperationMeter,
    SubmitMeter,
)

m = MetricsService()
with_registry = MetricsService(CollectorRegistry(), buckets="fine", series_max=100)


async def work(x: int) -> str:
    return "a"


@m.track_job(job_type="mail", operation="process", priority="high")
async def handle(x: int) -> str:
    return "a"


@m.track_job(job_type="mail", operation="process")
def handle_sync(x: int) -> str:
    return "a"


@m.track_effect(duration=m.storage.operation, errors=m.errors.total, labels={"operation": "flush"})
async def flush(rows: list[int], *, hard: bool = False) -> int:
    return len(rows)


async def numbers() -> AsyncIterator[int]:
    yield 1


async def main() -> None:
    assert_type(await m.track_job(job_type="mail", operation="submit")(work(1)), str)
    assert_type(await handle(1), str)
    assert_type(handle_sync(1), str)
    assert_type(await flush([1], hard=True), int)
    with m.track_cluster(operation="send", entity_type="Cart"):
        await work(2)
    with m.track_job(job_type="mail", operation="submit") as tracked:
        tracked.accepted(3)
    async for number in m.track_stream(numbers(), m.stream.elements):
        assert_type(number, int)
    async for number in m.track_stream_progress(numbers(), m.stream.elements, m.label(method="all"), log_interval=10):
        assert_type(number, int)


m.inc(m.cluster.errors, MetricsService.label(type="MailboxFull"))
m.inc(m.cluster.errors, MetricsService.label({"type": "MailboxFull", "entity_type": None}))
m.gauge(m.cluster.entities, m.label(), -1)
assert_type(m.label(operation="send"), Labels)
assert_type(m.cluster.errors, Counter)
assert_type(m.cluster.entities, Gauge)
assert_type(m.jobs.duration, Histogram)
assert_type(m.cluster.errors.labels(type="x"), CounterChild)
assert_type(m.cluster.entities.labels(), GaugeChild)
assert_type(m.jobs.duration.labels(job_type="x"), HistogramChild)
assert_type(m.cluster.meter(operation="send", entity_type="Cart"), OperationMeter)
assert_type(m.jobs.meter(operation="submit", job_type="mail"), SubmitMeter)
assert_type(m.jobs.meter(operation="process", job_type="mail", priority="high"), OperationMeter)
m.jobs.meter(operation="submit", job_type="mail").succeeded(0.1, accepted=3)
m.jobs.meter(operation="cancel", job_type="mail").succeeded(0.1)
m.jobs.meter(operation="cancel", job_type="mail").failed(0.1, ValueError())
detach = m.jobs.dlq_size.read_with(lambda: {m.label(job_type="mail"): 3})
detach()
m.cluster.shards.read_with(lambda: 64)
assert_type(BOUNDARIES.cluster, tuple[float, ...])
assert_type(m.exposition("text/plain"), tuple[str, bytes])
assert_type(m.value("jobs_enqueued_total", job_type="mail"), float)
