"""What the store itself counts: the truth that metrics are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class JobCounts(NamedTuple):
    """Jobs of one type and priority by state; `enqueued` counts all but replays, finished ones included."""

    job_type: str
    priority: int
    scheduled: int
    available: int
    running: int
    retrying: int
    completed: int
    cancelled: int
    dead: int
    replayed: int
    discarded: int
    enqueued: int

    @property
    def live(self) -> int:
        return self.scheduled + self.available + self.running + self.retrying

    @property
    def dlq_size(self) -> int:
        return self.dead - self.replayed - self.discarded


class LiveJobs(NamedTuple):
    """Live jobs of one shard, type and priority: those whose time has come (running ones too), and the others."""

    shard: int
    job_type: str
    priority: int
    due: int
    due_later: int


class DeadJobs(NamedTuple):
    """Dead jobs of one type, neither replayed nor discarded, and when the oldest of them died."""

    job_type: str
    waiting: int
    oldest_at: int


class MessageCounts(NamedTuple):
    """Durable messages of one entity type: stored ones, finished ones by outcome, and their deliveries."""

    entity_type: str
    pending: int
    done: int
    dead: int
    deliveries: int
    delivered_once: int


class Ledger(NamedTuple):
    """One consistent reading of the store."""

    jobs: tuple[JobCounts, ...]
    messages: tuple[MessageCounts, ...]
    entities_stored: int
    inbox: int
    counted_by: Mapping[int, int]
    """Admitted jobs and messages by the incarnation that counted them."""
