"""What the engines read from the store. Every read is bounded, and sees all that was committed before it began.

`shards` narrows a read down to what belongs to these shards; None is all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from holdfast.model.address import Address
from holdfast.model.inbox import InboxKind
from holdfast.model.job import ArchivedJob, GroupPlace, JobRow, StartRecord
from holdfast.model.ledger import DeadJobs, Ledger, LiveJobs
from holdfast.model.message import DeadMessageRow, DoneRow, InboxRow, MessageRow


class StoredState(NamedTuple):
    version: int
    schema: int
    state: bytes


class MessageReader(Protocol):
    async def state(self, address: Address) -> StoredState | None: ...

    async def states_of(self, entity_type: str, *, after: str, limit: int) -> Sequence[tuple[str, StoredState]]:
        """Ids and states of a type's entities, by ascending id above `after`, in the store's own order of text."""
        ...

    async def pending(
        self, *, after: int, limit: int, due_before: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        """Stored messages with `due_at <= due_before`, by ascending id above `after`."""
        ...

    async def pending_of(self, address: Address, *, after: int, limit: int, due_before: int) -> Sequence[MessageRow]:
        """The same for one entity."""
        ...

    async def upcoming(
        self, *, due_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        """Stored messages with `due_at > due_after`, soonest first."""
        ...

    async def timer(self, address: Address, name: str) -> MessageRow | None: ...

    async def by_id(self, message_id: int) -> MessageRow | None: ...

    async def by_key(self, address: Address, method: str, key: str) -> MessageRow | None: ...

    async def done(self, message_id: int) -> DoneRow | None: ...

    async def done_by_key(self, address: Address, method: str, key: str) -> DoneRow | None: ...

    async def dead(self, *, after: int, limit: int, entity_type: str | None = None) -> Sequence[DeadMessageRow]:
        """Dead letters by ascending id above `after`."""
        ...


class JobReader(Protocol):
    async def available(
        self, *, shard: int, priority: int, after: int, limit: int, due_before: int
    ) -> Sequence[JobRow]:
        """Live jobs of one shard and priority with `due_at <= due_before`, by ascending id above `after`."""
        ...

    async def filled(
        self, windows: Collection[tuple[int, int, int]], *, due_before: int
    ) -> Collection[tuple[int, int]]:
        """Those of these (shard, priority, after) for which `available` would find something, by shard and priority."""
        ...

    async def upcoming(
        self, *, due_after: int, id_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[JobRow]:
        """Live jobs that are not due at once, with (due_at, id) above (due_after, id_after), in that order."""
        ...

    async def live(self, job: int) -> JobRow | None: ...

    async def live_of(self, jobs: Collection[int]) -> Sequence[JobRow]:
        """Those of these that are live, by id."""
        ...

    async def live_by_key(self, job_type: str, group: str | None, key: str) -> JobRow | None: ...

    async def archived(self, job: int) -> ArchivedJob | None: ...

    async def archived_by_key(self, job_type: str, group: str | None, key: str) -> ArchivedJob | None:
        """The newest archived job that holds the key."""
        ...

    async def dead(self, *, after: int, limit: int, job_type: str | None = None) -> Sequence[ArchivedJob]:
        """Dead jobs neither replayed nor discarded, by ascending id above `after`."""
        ...

    async def live_page(self, *, after: int, limit: int, job_type: str | None = None) -> Sequence[JobRow]:
        """Live jobs by ascending id above `after`, for operators; of a rare type it scans what is live."""
        ...

    async def archived_page(
        self, *, after: int, limit: int, state: str, job_type: str | None = None
    ) -> Sequence[ArchivedJob]:
        """Jobs that ended in this state, by ascending id above `after`, for operators; may scan the archive."""
        ...

    async def starts(self, *, shards: Collection[int] | None = None) -> Sequence[StartRecord]:
        """Start records by ascending id; with `shards` those that speak of a live job of theirs, and of others too."""
        ...

    async def lent(self, executor: int) -> Sequence[StartRecord]:
        """The start records that other runners wrote for this executor, by ascending id."""
        ...

    async def group_places(self, *, shards: Collection[int] | None = None) -> Sequence[GroupPlace]:
        """The live jobs of groups that have been tried or were part of a crash. Scans what is live: for take-over."""
        ...

    async def live_counts(self, *, due_before: int, shards: Collection[int] | None = None) -> Sequence[LiveJobs]:
        """Counts the live jobs; `due` are those with `due_at <= due_before`. Scans what is live: for take-over."""
        ...

    async def dead_counts(self, *, shards: Collection[int] | None = None) -> Sequence[DeadJobs]:
        """Counts the dead jobs that wait for an operator; an index holds just these."""
        ...


class InboxReader(Protocol):
    async def inbox(self, *, limit: int, shards: Collection[int] | None = None) -> Sequence[InboxRow]:
        """The oldest inbox rows. Never filtered by a high-water mark: ids commit out of order."""
        ...

    async def entry(self, number: int) -> InboxRow | None:
        """What was left under this id: committed by whoever left it, and not yet taken."""
        ...


class InboxWriter(Protocol):
    async def leave(self, rows: Sequence[tuple[int, int, InboxKind, bytes]]) -> None:
        """Leaves (id, shard, kind, body) for the shards' owner, durable on return.

        Raises PersistenceError when the store stays busy beyond its bounded wait, and Conflict when an id is there
        already (of an earlier try, say); nothing was written then.
        """
        ...


class LedgerReader(Protocol):
    async def ledger(self) -> Ledger:
        """One consistent reading of all counts; slow (it scans), for gauges on a timer and for verification."""
        ...
