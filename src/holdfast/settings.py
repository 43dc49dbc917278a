"""Settings: frozen groups, checked once, at start.

Each field says its unit, and why its default is what it is. Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from .errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSettings:
    """Group commit: what one flush may carry at most."""

    batch_rows_max: int = 256
    """Rows in one transaction; beyond this a longer transaction gains little and delays its first reply."""
    batch_bytes_max: int = 4 * 1024 * 1024
    """Payload bytes in one transaction; keeps the write-ahead log's growth per commit small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitySettings:
    """Entities: mailboxes, deadlines, deliveries and the life of an instance."""

    mailbox: int = 1000
    """Messages that may wait in front of one entity before `MailboxFull`; a type may set its own."""
    idle_after: float = 300.0
    """Seconds without a message after which an instance is deactivated; a type may set its own."""
    call_timeout: float = 30.0
    """Seconds a caller waits for a reply where the call does not say; shorter than common proxies' 60."""
    handler_timeout: float = 60.0
    """Seconds one delivery of a durable message, or an activation, may take; then it is cancelled and tried again."""
    threads: int = 16
    """Threads for sync handlers with `executor="thread"`."""
    max_deliveries: int = 10
    """Tries of a durable message before it is a dead letter; with the backoff below about 8 minutes."""
    retry_first: float = 0.5
    """Seconds before the second delivery; doubles with each further one, with jitter."""
    retry_max: float = 120.0
    """Longest pause between two deliveries, in seconds."""
    crashes_max: int = 3
    """Deaths of a runner that a message or job may be part of before it is a dead letter."""
    unit_messages_max: int = 64
    """Messages of one entity that may run back to back and commit as one unit."""
    payload_bytes_max: int = 1024 * 1024
    """Largest encoded argument list or result, in bytes; larger belongs in a blob store."""
    page_rows: int = 1000
    """Stored messages read from the store at a time; bounds memory after a restart."""
    transaction_timeout: float = 10.0
    """Seconds a handler's own transaction may stay open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """Jobs: slots, tries, windows."""

    slots: int = 100
    """Attempts that run at a time on this runner's loop; one in 20 is kept for critical jobs, if any are declared."""
    thread_slots: int = 16
    """Attempts of sync handlers that run at the same time in threads."""
    process_slots: int = 2
    """Attempts that run at the same time in processes of their own; as many processors as they may use up."""
    max_attempts: int = 5
    """Tries before a job is dead; a job type may set its own."""
    timeout: float = 3600.0
    """Seconds one attempt may take where the job type does not say; no attempt runs for ever."""
    retry_first: float = 1.0
    """Seconds before the second attempt; doubles with each further one, with jitter."""
    retry_max: float = 900.0
    """Longest pause between two attempts, in seconds."""
    crashes_max: int = 3
    """Deaths of a runner that a job may be part of before it is dead."""
    window: int = 1000
    """Available jobs held in memory per shard and priority; the rest waits in the store."""
    payload_bytes_max: int = 1024 * 1024
    """Largest encoded argument list or result, in bytes."""
    start_batch_max: int = 128
    """Attempts in one start record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SingletonSettings:
    """Singletons: how one that raised is started again."""

    retry_first: float = 1.0
    """Seconds before the second start; doubles with each further one, with jitter."""
    retry_max: float = 60.0
    """Longest pause between two starts, in seconds; after a run this long the first pause is the shortest again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Ownership."""

    shards: int = 64
    """Shards of a group that the store does not know yet; fixed from then on."""
    lease_ttl: float = 6.0
    """Seconds a runner may be silent before it is reaped."""
    lease_renewal: float = 2.0
    """Seconds between renewals; a third of the lease, so that two may fail."""
    drain_timeout: float = 30.0
    """Seconds that handlers get to finish when a runner stops; then they are cancelled and delivered again."""
    loop_stall_limit: float = 30.0
    """Seconds the event loop may stand still before this runner gives up its lease."""
    loop_stall_unready: float = 2.0
    """Seconds the event loop may stand still before this runner says that it is not ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """Connections between processes."""

    window: int = 4096
    """Calls and streams that may wait for their answers on one connection before `MailboxFull`."""
    unsent_bytes_max: int = 8 * 1024 * 1024
    """Bytes a slow reader may leave unread before new calls to it and from it are refused with `MailboxFull`."""
    unsent_bytes_limit: int = 64 * 1024 * 1024
    """Bytes a slow reader may leave unread, for longer than a heartbeat, before its connection is ended."""
    stream_credit: int = 16
    """Items of a stream that may be under way; enough to hide the round trip, few enough to stop early."""
    heartbeat: float = 2.0
    """Seconds without a sign of the peer after which it is asked for one."""
    silence_max: float = 30.0
    """Seconds without a sign of the peer after which it counts as gone; as long as an event loop may stand still."""
    handshake_timeout: float = 5.0
    """Seconds until a connection must have been opened and both sides introduced."""
    close_timeout: float = 1.0
    """Seconds that the last bytes get to leave when a connection is closed."""
    connections_max: int = 1024
    """Connections that one listener keeps open; more are closed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The HTTP gateway for programs in other languages."""

    body_bytes_max: int = 1024 * 1024
    """Largest request body, in bytes."""
    body_timeout: float = 10.0
    """Seconds until all of a request's body must have come."""
    timeout_max: float = 300.0
    """Longest deadline that a request may ask for, in seconds."""
    requests_max: int = 256
    """Requests under way; more are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """How long the traces of finished work are kept."""

    done: float = 24 * 3600.0
    """Seconds that outcomes of durable messages and finished jobs are kept: the window of idempotency keys."""
    prune_every: float = 60.0
    """Seconds between two rounds of pruning."""
    prune_rows: int = 1000
    """Rows of each table deleted in one round's transaction, so that no round holds up a commit for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All groups together."""

    commit: CommitSettings = field(default_factory=CommitSettings)
    entities: EntitySettings = field(default_factory=EntitySettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    singletons: SingletonSettings = field(default_factory=SingletonSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    transport: TransportSettings = field(default_factory=TransportSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)

    def __post_init__(self) -> None:
        for group in fields(self):
            _check_positive(group.name, getattr(self, group.name))
        if self.cluster.lease_renewal * 2 > self.cluster.lease_ttl:
            raise ConfigurationError("cluster.lease_renewal must be at most half of cluster.lease_ttl")


def _check_positive(group: str, values: object) -> None:
    for item in fields(values):  # type: ignore[arg-type]
        value = getattr(values, item.name)
        if value <= 0:
            raise ConfigurationError(f"{group}.{item.name} must be above 0, not {value!r}")
