"""Retention: what finished long ago goes, in slices so small that no commit waits for them.

Ids ascend with time of creation, to within the hour for which a block of them is used (`kit.ids`), and nothing finishes
before it was created. So a scan by id may stop at the first row that was created inside the retention time, and no
index on the time of finishing has to be paid for by every commit. Rows that must stay are passed over; where the scan
stopped it goes on next time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from holdfast.storage.tally import Tally, count_archived, count_done

from .session import WriteSession

_SLICE = 1000
_SLICES_MAX = 10

Count = Callable[[Tally, Sequence[Any]], None]


class SqliteMaintenance:
    """`Maintenance` on one file."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session
        self._done = _Sweep("prune_done_scan", "prune_done_delete", count_done)
        self._archive = _Sweep("prune_archive_scan", "prune_archive_delete", count_archived)

    async def prune(self, *, finished_before: int, limit: int) -> int:
        pruned = 0
        for sweep in (self._done, self._archive):
            pruned += await self._session.write(partial(sweep.prune, finished_before, limit))
        return pruned


class _Sweep:
    """One table's scan, and the id it has come to."""

    def __init__(self, scan: str, delete: str, count: Count) -> None:
        self._scan = scan
        self._delete = delete
        self._count = count
        self._after = 0

    def prune(self, before: int, limit: int, run: Callable[..., list[Any]]) -> int:
        """Deletes up to `limit` rows and keeps their counts, in one transaction."""
        ids, tally, self._after = self._look(before, limit, run)
        for number in ids:
            run(self._delete, (number,))
        for key, count in tally.items():
            run("prune_tally", (*key, count))
        return len(ids)

    def _look(self, before: int, limit: int, run: Callable[..., list[Any]]) -> tuple[list[int], Tally, int]:
        """Up to `limit` ids that may go, what they count for, and where to look next; 0 is the beginning."""
        ids: list[int] = []
        tally: Tally = Counter()
        after = self._after
        for _ in range(_SLICES_MAX):
            rows = run(self._scan, {"before": before, "after": after, "slice": _SLICE})
            for number, too_young, may_go, *facts in rows:
                if too_young:
                    return ids, tally, 0
                if len(ids) >= limit:
                    return ids, tally, after
                if may_go:
                    ids.append(number)
                    self._count(tally, facts)
                after = number
            if len(rows) < _SLICE:
                return ids, tally, 0
        return ids, tally, after
