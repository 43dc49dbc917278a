"""Retention: what finished long ago goes, in slices so small that no commit waits for them.

Ids ascend with time of creation, and nothing finishes before it was created. So a scan by id may stop at the first
row that was created inside the retention time, and no index on the time of finishing has to be paid for by every
commit. Rows that must stay are passed over; where the scan stopped it goes on next time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .reads import Reader
from .session import WriteSession

_SLICE = 1000
_SLICES_MAX = 50

Tally = Counter[tuple[str, str, int, str]]
Count = Callable[[Tally, Sequence[Any]], None]


class SqliteMaintenance:
    """`Maintenance` on one file."""

    def __init__(self, session: WriteSession, reader: Reader) -> None:
        self._session = session
        self._done = _Sweep(reader, "prune_done_scan", "prune_done_delete", _count_done)
        self._archive = _Sweep(reader, "prune_archive_scan", "prune_archive_delete", _count_archived)

    async def prune(self, *, finished_before: int, limit: int) -> int:
        pruned = 0
        for sweep in (self._done, self._archive):
            ids, tally = sweep.look(finished_before, limit)
            if ids:
                pruned += await self._session.write(partial(sweep.take, ids, tally))
        return pruned


class _Sweep:
    """One table's scan, and the id it has come to."""

    def __init__(self, reader: Reader, scan: str, delete: str, count: Count) -> None:
        self._reader = reader
        self._scan = scan
        self._delete = delete
        self._count = count
        self._after = 0

    def look(self, before: int, limit: int) -> tuple[list[int], Tally]:
        """Up to `limit` ids that may go, and what they count for."""
        ids: list[int] = []
        tally: Tally = Counter()
        for _ in range(_SLICES_MAX):
            wanted = {"before": before, "after": self._after, "slice": _SLICE}
            rows = self._reader.rows(self._scan, wanted)
            for number, too_young, may_go, *facts in rows:
                if too_young or len(ids) >= limit:
                    self._after = 0 if too_young else self._after
                    return ids, tally
                if may_go:
                    ids.append(number)
                    self._count(tally, facts)
                self._after = number
            if len(rows) < wanted["slice"]:
                self._after = 0
                break
        return ids, tally

    def take(self, ids: list[int], tally: Tally, run: Callable[..., list[Any]]) -> int:
        """Deletes the rows and keeps their counts, in one transaction."""
        for number in ids:
            run(self._delete, (number,))
        for key, count in tally.items():
            run("prune_tally", (*key, count))
        return len(ids)


def _count_done(tally: Tally, facts: Sequence[Any]) -> None:
    entity_type, dead, deliveries, admitted_by = facts
    tally["message", entity_type, 0, "dead" if dead else "done"] += 1
    tally["message", entity_type, 0, "deliveries"] += deliveries
    tally["message", entity_type, 0, "delivered_once"] += deliveries > 0
    tally["counted_by", str(admitted_by), 0, "admitted"] += 1


def _count_archived(tally: Tally, facts: Sequence[Any]) -> None:
    job_type, priority, state, replayed, discarded, enqueued, admitted_by = facts
    tally["job", job_type, priority, state] += 1
    tally["job", job_type, priority, "replayed"] += replayed
    tally["job", job_type, priority, "discarded"] += discarded
    tally["job", job_type, priority, "enqueued"] += enqueued
    tally["counted_by", str(admitted_by), 0, "admitted"] += enqueued
