"""Every metric Holdfast exposes, as data.

Instruments, the reference page, dashboards, alert rules and tests are made from these records; nothing else declares
a metric. Names, labels and buckets of the namespaces `cluster` and `jobs` are a contract with the dashboards of
users. Three gauges end in `_total`: linters object, the names stay.

`LABELS` says which labels are closed sets. The others name things of the user's program: there are few of them by
nature, and `cardinality` sees to it that a program that has many does not hurt the one who watches it.
"""

from .boundaries import Scale
from .spec import Aggregate, Derived, Kind, MetricSpec, NamespaceName, Outcome

LABELS: dict[str, tuple[bool, str]] = {
    "collector": (True, "what could not be read: a metric, or a collector of the registry"),
    "direction": (True, "`in` or `out`, as this runner sees it"),
    "entity_type": (False, "registered name of an entity type"),
    "job_type": (False, "registered name of a job type"),
    "method": (False, "name of a handler, or of an HTTP method"),
    "metric": (True, "exposed name of a metric"),
    "operation": (True, "what was done, from the closed set of its namespace"),
    "outcome": (True, "`ok`, `error` or `cancelled`"),
    "pool": (True, "`thread` or `process`"),
    "priority": (True, "`critical`, `high`, `normal` or `low`"),
    "reason": (False, "`error.reason`, or the error's class; for a deactivation or a missed run, why"),
    "route": (False, "path template of an HTTP route"),
    "schedule": (False, "name of a schedule"),
    "singleton": (False, "registered name of a singleton"),
    "state": (True, "from the closed set of the metric"),
    "status": (True, "HTTP status code"),
    "store": (True, "kind of store: sqlite, postgres, memory"),
    "type": (False, "`error.reason`, or the error's class"),
    "version": (True, "version of Holdfast"),
    "python": (True, "version of Python"),
}
"""Label name to (is it a closed set?, its meaning)."""

_MAX = Aggregate.MAX


def _counter(
    space: NamespaceName, attribute: str, name: str, labels: str, owner: str, text: str,
    *, derived: Derived | None = None, otel: str = "", unit: str = "",
) -> MetricSpec:  # fmt: skip
    return MetricSpec(
        space, attribute, name, Kind.COUNTER, text, owner, tuple(labels.split()), unit, derived=derived, otel_name=otel
    )


def _gauge(
    space: NamespaceName, attribute: str, name: str, labels: str, owner: str, text: str,
    *, aggregate: Aggregate = Aggregate.SUM, unit: str = "", otel: str = "",
) -> MetricSpec:  # fmt: skip
    return MetricSpec(
        space, attribute, name, Kind.GAUGE, text, owner, tuple(labels.split()), unit, aggregate, otel_name=otel
    )


def _histogram(
    space: NamespaceName, attribute: str, name: str, labels: str, owner: str, text: str,
    *, scale: Scale, unit: str = "seconds", otel: str = "",
) -> MetricSpec:  # fmt: skip
    return MetricSpec(
        space, attribute, name, Kind.HISTOGRAM, text, owner, tuple(labels.split()), unit, scale=scale, otel_name=otel
    )


_LATENCY = "cluster_message_latency_seconds"
_PROCESSING = "jobs_processing_seconds"

_CLUSTER = (
    _gauge("cluster", "entities", "cluster_entities_total", "", "entities: manager",
           "Live entity instances on this runner."),
    _gauge("cluster", "runners", "cluster_runners_total", "", "cluster: membership",
           "Registered runners, as this runner sees the cluster.", aggregate=_MAX),
    _gauge("cluster", "runners_healthy", "cluster_runners_healthy", "", "cluster: membership",
           "Registered runners with a valid lease, as this runner sees the cluster.", aggregate=_MAX),
    _gauge("cluster", "shards", "cluster_shards_total", "", "cluster: assignment",
           "Shards of the cluster.", aggregate=_MAX),
    _gauge("cluster", "shards_assigned", "cluster_shards_assigned", "", "cluster: assignment",
           "Shards this runner owns; the sum over runners equals cluster_shards_total when all is well."),
    _counter("cluster", "messages_sent", "cluster_messages_sent_total", "entity_type operation", "track_cluster: send",
             "Sends that succeeded, as the sender saw them.",
             derived=Derived(_LATENCY, "send", Outcome.OK), otel="messaging.client.sent.messages"),
    _counter("cluster", "messages_received", "cluster_messages_received_total", "entity_type operation",
             "track_cluster: receive", "Messages a handler took and finished without error.",
             derived=Derived(_LATENCY, "receive", Outcome.OK), otel="messaging.client.consumed.messages"),
    _counter("cluster", "redeliveries", "cluster_redeliveries_total", "entity_type", "entities: delivery",
             "Durable messages handed to a handler again."),
    _histogram("cluster", "message_latency", _LATENCY, "entity_type operation", "track_cluster",
               "Duration of the operation, whatever its outcome; for send the round trip the caller saw.",
               scale="cluster", otel="messaging.client.operation.duration"),
    _counter("cluster", "errors", "cluster_errors_total", "entity_type type", "track_cluster",
             "Operations on entities that failed, by the error's reason."),
    _counter("cluster", "operations", "cluster_operations_total", "entity_type operation outcome", "track_cluster",
             "Operations on entities, by outcome.", derived=Derived(_LATENCY)),
    _gauge("cluster", "mailbox_depth", "cluster_mailbox_depth", "entity_type", "entities: manager",
           "Messages waiting in mailboxes."),
    _gauge("cluster", "mailbox_oldest_age", "cluster_mailbox_oldest_age_seconds", "entity_type", "entities: manager",
           "Age of the message that has waited longest in a mailbox.", aggregate=_MAX, unit="seconds"),
    _histogram("cluster", "mailbox_wait", "cluster_mailbox_wait_seconds", "entity_type", "entities: manager",
               "Time from a message's arrival in the mailbox to its handler's start.", scale="cluster"),
    _histogram("cluster", "handler", "cluster_handler_seconds", "entity_type method", "entities: manager",
               "Time a handler ran, without waiting and commit.", scale="cluster", otel="messaging.process.duration"),
    _counter("cluster", "dead_letters", "cluster_dead_letters_total", "entity_type reason", "entities: delivery",
             "Durable messages that used up their deliveries."),
    _counter("cluster", "duplicates", "cluster_duplicates_total", "entity_type", "entities: delivery",
             "Messages answered from the outcome of an earlier one with the same key or id."),
    _counter("cluster", "entity_activations", "cluster_entity_activations_total", "entity_type", "entities: manager",
             "Entity instances brought to life."),
    _counter("cluster", "entity_deactivations", "cluster_entity_deactivations_total", "entity_type reason",
             "entities: manager", "Entity instances that ended, by why."),
    _histogram("cluster", "entity_lifetime", "cluster_entity_lifetime_seconds", "entity_type", "entities: manager",
               "Time from an instance's activation to its end.", scale="lifetime"),
    _histogram("cluster", "entity_activation", "cluster_entity_activation_seconds", "entity_type",
               "entities: manager", "Time an activation took, loading of state included.", scale="cluster"),
    _counter("cluster", "shard_moves", "cluster_shard_moves_total", "direction", "cluster: hand-over",
             "Shards this runner took or gave away."),
    _histogram("cluster", "shard_handoff", "cluster_shard_handoff_seconds", "", "cluster: hand-over",
               "Time from a shard's gate closing at the giver to its opening at the receiver.", scale="cluster"),
    _counter("cluster", "lease_renewals", "cluster_lease_renewals_total", "outcome", "cluster: leases",
             "Tries to renew this runner's lease, by outcome."),
    _gauge("cluster", "lease_remaining", "cluster_lease_remaining_seconds", "", "cluster: leases",
           "Time left until this runner's lease ends.", aggregate=_MAX, unit="seconds"),
    _counter("cluster", "fencing_rejections", "cluster_fencing_rejections_total", "", "cluster: leases",
             "Commits the store refused because the shard had another owner."),
)  # fmt: skip

_JOBS = (
    _counter("jobs", "cancellations", "jobs_cancelled_total", "job_type operation priority", "track_job: cancel",
             "Cancels that succeeded.", derived=Derived(_PROCESSING, "cancel", Outcome.OK)),
    _counter("jobs", "completions", "jobs_completed_total", "job_type priority", "jobs: execution",
             "Jobs that reached completed."),
    _counter("jobs", "dead_lettered", "jobs_dead_lettered_total", "job_type reason", "jobs: execution",
             "Jobs that reached dead."),
    _gauge("jobs", "dlq_size", "jobs_dlq_size", "job_type", "jobs: dispatch",
           "Dead jobs not yet replayed or discarded."),
    _histogram("jobs", "duration", "jobs_duration_seconds", "job_type priority", "jobs: execution",
               "Submit to terminal state, waits and retries included.", scale="jobs"),
    _counter("jobs", "enqueued", "jobs_enqueued_total", "job_type operation priority", "track_job: submit",
             "Jobs accepted; a batch of N adds N, a deduplicated submit none."),
    _counter("jobs", "failures", "jobs_failed_total", "job_type reason", "track_job",
             "Failed attempts, and failed requests, by the error's reason."),
    _histogram("jobs", "processing_seconds", _PROCESSING, "job_type operation priority", "track_job",
               "Active time of the operation, whatever its outcome; for process one attempt's handler.",
               scale="jobs"),
    _gauge("jobs", "queue_depth", "jobs_queue_depth", "job_type priority", "jobs: dispatch",
           "Available jobs waiting for a slot."),
    _counter("jobs", "retries", "jobs_retried_total", "job_type reason", "jobs: execution",
             "Failed attempts that will be tried again."),
    _histogram("jobs", "wait_duration", "jobs_wait_duration_seconds", "job_type priority", "jobs: dispatch",
               "From eligible (submit, schedule or retry time) to start.", scale="jobs"),
    _counter("jobs", "operations", "jobs_operations_total", "job_type operation outcome", "track_job",
             "Operations on jobs, by outcome.", derived=Derived(_PROCESSING)),
    _gauge("jobs", "oldest_age", "jobs_oldest_age_seconds", "job_type priority", "jobs: dispatch",
           "Age of the available job that has waited longest.", aggregate=_MAX, unit="seconds"),
    _gauge("jobs", "running", "jobs_running", "job_type", "jobs: execution", "Attempts running now."),
    _gauge("jobs", "scheduled", "jobs_scheduled", "job_type", "jobs: dispatch",
           "Jobs whose time has not come, retries included."),
    _gauge("jobs", "worker_slots", "jobs_worker_slots", "state", "jobs: execution",
           "Slots for attempts, `busy` and `free`."),
    _histogram("jobs", "attempts", "jobs_attempts", "job_type", "jobs: execution",
               "Attempts a job took to its terminal state.", scale="attempts", unit=""),
    _counter("jobs", "timeouts", "jobs_timeouts_total", "job_type", "jobs: execution",
             "Attempts that used up their time."),
    _counter("jobs", "rescued", "jobs_rescued_total", "job_type", "jobs: dispatch",
             "Attempts taken back from a runner that ended without saying how they went."),
    _counter("jobs", "deduplicated", "jobs_deduplicated_total", "job_type", "jobs: dispatch",
             "Submits answered with an earlier job of the same key."),
    _counter("jobs", "replayed", "jobs_replayed_total", "job_type", "jobs: dispatch",
             "Dead jobs submitted again."),
    _counter("jobs", "discarded", "jobs_discarded_total", "job_type", "jobs: dispatch",
             "Dead jobs given up for good."),
    _gauge("jobs", "dlq_oldest_age", "jobs_dlq_oldest_age_seconds", "job_type", "jobs: dispatch",
           "Age of the oldest dead job not yet replayed or discarded.", aggregate=_MAX, unit="seconds"),
    _counter("jobs", "schedule_missed", "jobs_schedule_missed_total", "schedule reason", "schedules",
             "Occurrences of a schedule that were given up: `late`, or `overlap` with the run before."),
)  # fmt: skip

_AROUND = (
    _gauge("http", "requests_active", "http_requests_active", "method", "web: server",
           "Requests being answered now.", otel="http.server.active_requests"),
    _histogram("http", "request_duration", "http_request_duration_seconds", "method route status", "web: server",
               "Time from a request's arrival to the end of its answer.", scale="http",
               otel="http.server.request.duration"),
    _counter("http", "requests", "http_requests_total", "method route status", "web: server", "Requests answered."),
    _histogram("singleton", "duration", "singleton_duration_seconds", "singleton", "singletons",
               "Time one execution of a singleton took.", scale="jobs"),
    _counter("singleton", "executions", "singleton_executions_total", "singleton outcome", "singletons",
             "Executions of singletons, by outcome."),
    _gauge("singleton", "last_execution", "singleton_last_execution_timestamp", "singleton", "singletons",
           "When a singleton last ran, in seconds since 1970.", aggregate=_MAX),
    _gauge("stream", "active", "stream_active", "entity_type method", "entities: streams", "Streams open now."),
    _counter("stream", "elements", "stream_elements_total", "entity_type method", "entities: streams",
             "Elements handed to consumers of streams."),
    _counter("stream", "errors", "stream_errors_total", "entity_type type", "entities: streams",
             "Streams that ended with an error, by its reason."),
    _histogram("stream", "duration", "stream_duration_seconds", "entity_type method", "entities: streams",
               "Time from a stream's first request to its end.", scale="jobs"),
    _gauge("workers", "active", "workers_active", "pool", "runtime: pools", "Workers busy with a handler."),
    _counter("workers", "completions", "workers_completions_total", "pool", "runtime: pools",
             "Handlers a worker finished, with or without error."),
    _counter("workers", "crashes", "workers_crashes_total", "pool", "runtime: pools",
             "Workers that died while they had work."),
    _histogram("workers", "duration", "workers_duration_seconds", "pool", "runtime: pools",
               "Time a worker was busy with one handler.", scale="jobs"),
    _gauge("workers", "queue_depth", "workers_queue_depth", "pool", "runtime: pools",
           "Handlers waiting for a worker."),
    _counter("workers", "timeouts", "workers_timeouts_total", "pool", "runtime: pools",
             "Handlers that ran out of time in a worker."),
    _counter("errors", "total", "errors_total", "type", "whoever meets the error first: errors.record",
             "Errors by class, counted where they are first met."),
)  # fmt: skip

_BELOW = (
    _histogram("storage", "operation", "storage_operation_seconds", "operation outcome", "storage: each store",
               "Time a call of the store took.", scale="storage", otel="db.client.operation.duration"),
    _histogram("storage", "batch_rows", "storage_batch_rows", "operation", "storage: each store",
               "Rows one flush carried.", scale="rows", unit=""),
    _gauge("storage", "connections", "storage_connections", "state", "storage: each store",
           "Connections to the store, `busy` and `idle`.", otel="db.client.connection.count"),
    _histogram("runtime", "loop_lag", "event_loop_lag_seconds", "", "runtime: watchdog",
               "How late the event loop ran what was due.", scale="lag"),
    _gauge("runtime", "info", "runtime_info", "version python store", "runtime: node",
           "Always 1; what runs here is in the labels.", aggregate=_MAX),
    _counter("process", "cpu", "process_cpu_seconds_total", "", "prometheus-client",
             "User and system CPU time of the process.", unit="seconds", otel="process.cpu.time"),
    _gauge("process", "resident_memory", "process_resident_memory_bytes", "", "prometheus-client",
           "Resident memory.", unit="bytes", otel="process.memory.usage"),
    _gauge("process", "virtual_memory", "process_virtual_memory_bytes", "", "prometheus-client",
           "Virtual memory.", unit="bytes", otel="process.memory.virtual"),
    _gauge("process", "start_time", "process_start_time_seconds", "", "prometheus-client",
           "When the process started, in seconds since 1970.", aggregate=_MAX, unit="seconds"),
    _gauge("process", "open_fds", "process_open_fds", "", "prometheus-client",
           "Open file descriptors.", otel="process.open_file_descriptor.count"),
    _gauge("process", "max_fds", "process_max_fds", "", "prometheus-client",
           "Limit of open file descriptors.", aggregate=_MAX),
)  # fmt: skip

_SERVICE = (
    _gauge("service", "series", "metrics_series", "metric", "metrics: collector",
           "Label sets of each metric with any."),
    _counter("service", "overflow", "metrics_overflow_total", "metric", "metrics: instruments",
             "Label sets folded into __other__ because the metric had too many."),
    _histogram("service", "collect", "metrics_collect_seconds", "", "metrics: collector",
               "Time a scrape took to read and write out.", scale="lag"),
    _counter("service", "collector_errors", "metrics_collector_errors_total", "collector", "metrics: collector",
             "Reads that failed; their series are missing from that scrape."),
)  # fmt: skip

CATALOGUE: tuple[MetricSpec, ...] = (*_CLUSTER, *_JOBS, *_AROUND, *_BELOW, *_SERVICE)
"""All metrics, in the order of the page; those of the scrape itself last, so that one scrape shows its own errors."""

BY_NAME: dict[str, MetricSpec] = {spec.name: spec for spec in CATALOGUE}
"""The same by exposed name."""
