"""The instruments by subject: `metrics.cluster.errors`, `metrics.jobs.enqueued`.

The annotations are for type checkers; the instruments themselves are made from the catalogue, and a test holds the
two together.
"""

from collections.abc import Iterator
from typing import Literal, assert_never, overload

from .boundaries import Boundaries
from .catalogue import CATALOGUE
from .instruments import Counter, Gauge, Histogram
from .label import clean
from .meters import CLUSTER_OPERATIONS, JOB_OPERATIONS, ClusterOperation, JobOperation, OperationMeter, SubmitMeter
from .series import Ledger
from .spec import Kind, MetricSpec, NamespaceName

AnyInstrument = Counter | Gauge | Histogram


class Namespace:
    """The instruments of one subject, made from the catalogue."""

    name: NamespaceName

    def __init__(self, ledger: Ledger, boundaries: Boundaries) -> None:
        for spec in CATALOGUE:
            if spec.namespace == self.name:
                setattr(self, spec.attribute, _instrument(spec, ledger, boundaries))

    def instruments(self) -> Iterator[AnyInstrument]:
        """All of them, in the catalogue's order."""
        for spec in CATALOGUE:
            if spec.namespace == self.name:
                yield getattr(self, spec.attribute)


def _instrument(spec: MetricSpec, ledger: Ledger, boundaries: Boundaries) -> AnyInstrument:
    match spec.kind:
        case Kind.COUNTER:
            return Counter(spec, ledger)
        case Kind.GAUGE:
            return Gauge(spec, ledger)
        case Kind.HISTOGRAM:
            assert spec.scale is not None, spec.name
            return Histogram(spec, ledger, boundaries.scale(spec.scale))
        case _:
            assert_never(spec.kind)


class Cluster(Namespace):
    """Entities, their messages, and who owns what."""

    name = "cluster"

    entities: Gauge
    runners: Gauge
    runners_healthy: Gauge
    shards: Gauge
    shards_assigned: Gauge
    messages_sent: Counter
    messages_received: Counter
    redeliveries: Counter
    message_latency: Histogram
    errors: Counter
    operations: Counter
    mailbox_depth: Gauge
    mailbox_oldest_age: Gauge
    mailbox_wait: Histogram
    handler: Histogram
    dead_letters: Counter
    duplicates: Counter
    entity_activations: Counter
    entity_deactivations: Counter
    entity_lifetime: Histogram
    entity_activation: Histogram
    shard_moves: Counter
    shard_handoff: Histogram
    lease_renewals: Counter
    lease_remaining: Gauge
    fencing_rejections: Counter

    def meter(self, *, operation: ClusterOperation, entity_type: str) -> OperationMeter:
        """The meter of one operation; raises ValueError for an unknown one."""
        if operation not in CLUSTER_OPERATIONS:
            raise ValueError(f"unknown operation {operation!r}; known are {', '.join(CLUSTER_OPERATIONS)}")
        labels = {"entity_type": clean(entity_type), "operation": operation}
        return OperationMeter(self.message_latency, labels, self.errors, "type")


class Jobs(Namespace):
    """Jobs, from submit to their terminal state."""

    name = "jobs"

    cancellations: Counter
    completions: Counter
    dead_lettered: Counter
    dlq_size: Gauge
    duration: Histogram
    enqueued: Counter
    failures: Counter
    processing_seconds: Histogram
    queue_depth: Gauge
    retries: Counter
    wait_duration: Histogram
    operations: Counter
    oldest_age: Gauge
    running: Gauge
    scheduled: Gauge
    worker_slots: Gauge
    attempts: Histogram
    timeouts: Counter
    rescued: Counter
    deduplicated: Counter
    replayed: Counter
    discarded: Counter
    dlq_oldest_age: Gauge
    schedule_missed: Counter

    @overload
    def meter(self, *, operation: Literal["submit"], job_type: str, priority: str | None = None) -> SubmitMeter: ...
    @overload
    def meter(
        self, *, operation: Literal["process", "cancel", "replay"], job_type: str, priority: str | None = None
    ) -> OperationMeter: ...
    @overload
    def meter(
        self, *, operation: JobOperation, job_type: str, priority: str | None = None
    ) -> OperationMeter | SubmitMeter: ...
    def meter(
        self, *, operation: JobOperation, job_type: str, priority: str | None = None
    ) -> OperationMeter | SubmitMeter:
        """The meter of one operation; raises ValueError for an unknown one."""
        if operation not in JOB_OPERATIONS:
            raise ValueError(f"unknown operation {operation!r}; known are {', '.join(JOB_OPERATIONS)}")
        labels = {"job_type": clean(job_type), "operation": operation, "priority": clean(priority)}
        meter = OperationMeter(self.processing_seconds, labels, self.failures, "reason")
        match operation:
            case "submit":
                return SubmitMeter(meter, self.enqueued.labels(**labels))
            case "process" | "cancel" | "replay":
                return meter
            case _:
                assert_never(operation)


class Http(Namespace):
    """Requests to the operations pages."""

    name = "http"

    requests_active: Gauge
    request_duration: Histogram
    requests: Counter


class Singleton(Namespace):
    """Tasks that run on one runner of the cluster."""

    name = "singleton"

    duration: Histogram
    executions: Counter
    last_execution: Gauge


class Stream(Namespace):
    """Streams of entities."""

    name = "stream"

    active: Gauge
    elements: Counter
    errors: Counter
    duration: Histogram


class Workers(Namespace):
    """Pools that run blocking and CPU-bound handlers."""

    name = "workers"

    active: Gauge
    completions: Counter
    crashes: Counter
    duration: Histogram
    queue_depth: Gauge
    timeouts: Counter


class Errors(Namespace):
    """All errors by class, whatever they interrupted."""

    name = "errors"

    total: Counter

    def record(self, error: BaseException) -> None:
        """Count an error by its class; for the place that meets it first."""
        self.total.labels(type=type(error).__name__).inc()


class Storage(Namespace):
    """Calls of the store."""

    name = "storage"

    operation: Histogram
    batch_rows: Histogram
    connections: Gauge


class Runtime(Namespace):
    """The process and its event loop."""

    name = "runtime"

    loop_lag: Histogram
    info: Gauge


class Service(Namespace):
    """The metrics themselves."""

    name = "service"

    series: Gauge
    overflow: Counter
    collect: Histogram
    collector_errors: Counter
