"""Which shard something belongs to, by its name or, where it is stored, by its id."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.model.cluster import GroupRow
from holdfast.model.placement import DEFAULT_GROUP, Placement
from holdfast.ports.reads import JobReader, MessageReader
from holdfast.ports.store import ClientStore

from .leavings import Leavings


class Places:
    """Where entities and jobs belong.

    Asks the store once; until some runner has made the shard groups, what the settings say will come true with the
    first one.
    """

    def __init__(self, store: ClientStore, *, shards: int, groups: Mapping[str, str] | None = None) -> None:
        """`groups`: the shard group of each type that is not in the default one."""
        self._store = store
        self._types = groups or {}
        self._known = False
        self._placement = Placement.of(_guessed({DEFAULT_GROUP, *self._types.values()}, shards), self._types)

    async def known(self) -> None:
        """Returns once the answers are the store's, where it has any. Raises PersistenceError."""
        if not self._known:
            rows = await self._store.membership.groups()
            if {DEFAULT_GROUP, *self._types.values()} <= {row.name for row in rows}:
                self._placement, self._known = Placement.of(rows, self._types), True

    def of_entity(self, entity_type: str, entity_id: str) -> int:
        return self._placement.of_entity(entity_type, entity_id)

    def of_job(self, job_id: int, job_type: str, key: str | None, group: str | None) -> int:
        return self._placement.of_job(job_id, job_type, key, group)


class Whereabouts:
    """Where messages and jobs belong of which only the id is known; None for what nobody knows, or knows yet."""

    def __init__(self, *, leavings: Leavings, jobs: JobReader, messages: MessageReader, alone: bool) -> None:
        """`alone`: one runner has everything, so that nobody needs to look."""
        self._leavings = leavings
        self._jobs = jobs
        self._messages = messages
        self._alone = alone

    async def job(self, number: int) -> int | None:
        left = self._leavings.shard_of(number)
        if left is not None or self._alone:
            return left
        row = await self._jobs.live(number) or await self._jobs.archived(number)
        return None if row is None else row.shard

    async def message(self, number: int) -> int | None:
        """One that has ended is nowhere: every runner can tell of it."""
        left = self._leavings.shard_of(number)
        if left is not None or self._alone:
            return left
        row = await self._messages.by_id(number)
        return None if row is None else row.shard

    async def letter(self, number: int) -> int | None:
        if self._alone:
            return None
        found = await self._messages.dead(after=number - 1, limit=1)
        return found[0].shard if found and found[0].id == number else None


def _guessed(groups: set[str], shards: int) -> list[GroupRow]:
    return [GroupRow(name, place * shards, shards, ()) for place, name in enumerate(sorted(groups))]
