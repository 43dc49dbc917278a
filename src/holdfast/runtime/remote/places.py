"""Which shard something belongs to, for a process that may know the store before any runner has fixed the shards."""

from __future__ import annotations

from holdfast.kit.hashing import shard_of
from holdfast.ports.store import ClientStore

GROUP = "default"


class Places:
    """Asks the store once; until it knows, what the settings say will come true with the first runner."""

    def __init__(self, store: ClientStore, *, shards: int) -> None:
        self._store = store
        self._count = shards
        self._known = False

    async def known(self) -> None:
        """Returns once the answers are the store's, where it has any. Raises PersistenceError."""
        if not self._known:
            count = await self._store.shard_count(GROUP)
            if count is not None:
                self._count, self._known = count, True

    def of_entity(self, entity_type: str, entity_id: str) -> int:
        return shard_of(entity_type, entity_id, self._count)

    def of_job(self, job_id: int, job_type: str, key: str | None, group: str | None) -> int:
        name = key if group is None else group
        return job_id % self._count if name is None else shard_of(job_type, name, self._count)
