"""A store: all storage ports of one database, opened by its URL."""

from __future__ import annotations

from typing import Protocol

from .journal import Journal
from .membership import LeaseLine, Membership, MembershipDesk
from .reads import InboxReader, InboxWriter, JobReader, LedgerReader, MessageReader


class Ids(Protocol):
    async def allocate(self, count: int) -> int:
        """The first of `count` fresh ids in a row, above all ids handed out before; never handed out again."""
        ...


class Maintenance(Protocol):
    async def prune(self, *, finished_before: int, limit: int) -> int:
        """Deletes done rows and archived jobs that finished before this moment (dead ones only once dealt with).

        At most `limit` rows of each; returns how many went.
        """
        ...


class ClientStore(Protocol):
    """What a process that hosts nothing may do by itself."""

    @property
    def url(self) -> str: ...

    @property
    def messages(self) -> MessageReader: ...

    @property
    def jobs(self) -> JobReader: ...

    @property
    def inbox(self) -> InboxWriter: ...

    @property
    def inbox_reader(self) -> InboxReader: ...

    @property
    def ledger(self) -> LedgerReader: ...

    @property
    def membership(self) -> MembershipDesk: ...

    @property
    def ids(self) -> Ids: ...

    async def cluster_id(self) -> str: ...

    async def shard_count(self, group: str) -> int | None:
        """How many shards the group has; None before any runner has made it."""
        ...

    async def runner_address(self) -> str | None:
        """The address where the live runner listens, where one is registered (embedded stores)."""
        ...

    async def inbox_changed(self) -> bool:
        """Whether another process may have written since the last call; cheap (embedded stores read a counter)."""
        ...

    async def close(self) -> None: ...


class RunnerStore(ClientStore, Protocol):
    """The whole store, for the process that owns shards."""

    @property
    def journal(self) -> Journal: ...

    @property
    def membership(self) -> Membership: ...

    @property
    def maintenance(self) -> Maintenance: ...

    def connections(self) -> tuple[int, int]:
        """Connections to the database in use, and idle; callable from any thread. An embedded store has none."""
        ...

    @property
    def lanes(self) -> int:
        """How many commits it can work on at a time; where they are several, one of what is urgent beside them."""
        ...

    @property
    def alone(self) -> bool:
        """Nobody else can serve this store as long as it is open here, however late this runner renews its lease."""
        ...

    @property
    def lease_on_thread(self) -> bool:
        """Whether the lease is to be kept from a thread with an event loop of its own."""
        ...

    async def lease_line(self) -> LeaseLine:
        """Opened on the event loop it is to be used on, which may be another one than the store's.

        Where the store is away it is opened all the same, and `renew` says so.
        """
        ...
