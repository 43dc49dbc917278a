"""Retention: what finished long ago goes, in slices so small that nobody waits for them.

Ids ascend with time of creation, to within the hour for which a block of them is used (`kit.ids`), and nothing finishes
before it was created. So a scan by id may stop at the first row that was created inside the retention time, and no
index on the time of finishing has to be paid for by every commit. Several runners may prune at once: what counts is
what a deletion returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from holdfast.storage.tally import Tally, count_archived, count_done

from .connection import Connection
from .pool import Pool

_SLICE = 1000
_SLICES_MAX = 10
_LOCK_WAIT_MS = 100

Count = Callable[[Tally, Sequence[Any]], None]


class PostgresMaintenance:
    """`Maintenance` on one database."""

    def __init__(self, pool: Pool, sql: Mapping[str, str]) -> None:
        self._pool = pool
        self._done = _Sweep(sql, "prune_done", count_done)
        self._archive = _Sweep(sql, "prune_archive", count_archived)

    async def prune(self, *, finished_before: int, limit: int) -> int:
        pruned = 0
        for sweep in (self._done, self._archive):
            async with self._pool.transaction() as connection:
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_WAIT_MS}")
                pruned += await sweep.prune(finished_before, limit, connection)
        return pruned


class _Sweep:
    """One table's scan, and the id it has come to."""

    def __init__(self, sql: Mapping[str, str], name: str, count: Count) -> None:
        self._scan = sql[f"{name}_scan"]
        self._delete = sql[f"{name}_delete"]
        self._note = sql["prune_tally"]
        self._count = count
        self._after = 0

    async def prune(self, before: int, limit: int, connection: Connection) -> int:
        """Deletes up to `limit` rows and keeps their counts, in the open transaction."""
        ids, self._after = await self._look(before, limit, connection)
        if not ids:
            return 0
        gone: list[Any] = await connection.fetch(self._delete, ids)
        tally: Tally = Counter()
        for facts in gone:
            self._count(tally, tuple(facts))
        if tally:
            # In one order everywhere, so that two who prune at once don't wait for each other's rows in a circle.
            keys, counts = zip(*sorted(tally.items()), strict=True)
            await connection.execute(self._note, *zip(*keys, strict=True), counts)
        return len(gone)

    async def _look(self, before: int, limit: int, connection: Connection) -> tuple[list[int], int]:
        """Up to `limit` ids that may go, and where to look next; 0 is the beginning."""
        ids: list[int] = []
        after = self._after
        for _ in range(_SLICES_MAX):
            rows = await connection.fetch(self._scan, before, after, _SLICE)
            for number, too_young, may_go in rows:
                if too_young:
                    return ids, 0
                if len(ids) >= limit:
                    return ids, after
                if may_go:
                    ids.append(number)
                after = number
            if len(rows) < _SLICE:
                return ids, 0
        return ids, after
