"""What the live view shows, from two snapshots of the metrics: rates, quantiles, depths.

Pure: a snapshot in, plain numbers out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.metrics import Labels

Snapshot = Mapping[tuple[str, Labels], float]

LATENCIES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("volatile and durable calls", "cluster_message_latency_seconds", {"operation": "send"}),
    ("handlers", "cluster_handler_seconds", {}),
    ("job attempts", "jobs_processing_seconds", {"operation": "process"}),
    ("job waits", "jobs_wait_duration_seconds", {}),
    ("commits", "storage_operation_seconds", {"operation": "commit"}),
    ("event loop lag", "event_loop_lag_seconds", {}),
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles in seconds; None while nothing was observed."""

    name: str
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at a running demo. Rates are per second since the look before, the other counts are totals."""

    seconds: float
    messages_per_s: float
    jobs_per_s: float
    messages: int
    jobs: int
    entities: int
    queue_depth: int
    due_later: int
    retries: int
    redeliveries: int
    dead: int
    replayed: int
    latencies: tuple[Latency, ...]


def reading(now: Snapshot, before: Snapshot, *, seconds: float, since_s: float) -> Reading:
    """`seconds`: since the start; `since_s`: between the two snapshots. Quantiles are of the whole run."""
    received = total(now, "cluster_messages_received_total")
    completed = total(now, "jobs_completed_total")
    return Reading(
        seconds=seconds,
        messages_per_s=(received - total(before, "cluster_messages_received_total")) / since_s,
        jobs_per_s=(completed - total(before, "jobs_completed_total")) / since_s,
        messages=int(received),
        jobs=int(completed),
        entities=int(total(now, "cluster_entities_total")),
        queue_depth=int(total(now, "jobs_queue_depth")),
        due_later=int(total(now, "jobs_scheduled")),
        retries=int(total(now, "jobs_retried_total")),
        redeliveries=int(total(now, "cluster_redeliveries_total")),
        dead=int(total(now, "jobs_dlq_size")),
        replayed=int(total(now, "jobs_replayed_total")),
        latencies=tuple(_latency(now, name, metric, labels) for name, metric, labels in LATENCIES),
    )


def total(snapshot: Snapshot, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, pairs), value in snapshot.items() if found == name and wanted <= pairs)


def _latency(snapshot: Snapshot, name: str, metric: str, labels: Mapping[str, str]) -> Latency:
    buckets = cumulated(snapshot, metric, labels)
    return Latency(name, quantile(buckets, 0.5), quantile(buckets, 0.99))


def cumulated(snapshot: Snapshot, metric: str, labels: Mapping[str, str]) -> list[tuple[float, float]]:
    """(upper bound, observations up to it) over all series of a histogram that have these labels."""
    wanted, sums = set(labels.items()), dict[float, float]()
    for (found, pairs), value in snapshot.items():
        if found == f"{metric}_bucket" and wanted <= pairs:
            bound = float(dict(pairs)["le"])
            sums[bound] = sums.get(bound, 0) + value
    return sorted(sums.items())


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """As Prometheus does: evenly spread within the bucket; the last finite bound for what lies above it."""
    count = buckets[-1][1] if buckets else 0
    if not count:
        return None
    lower, below = 0.0, 0.0
    for bound, reached in buckets:
        if reached >= share * count:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (share * count - below) / (reached - below)
        lower, below = bound, reached
    return lower
