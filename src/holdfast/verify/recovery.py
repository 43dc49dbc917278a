"""How long entities did not answer after a fault: from the fault to the first answer that came after it. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .history import Event
from .storm import Injection

OVERLAPPING = "overlapping"
BEYOND_LEASE_S = {"kill": 1.0, "freeze": 1.0, "freeze in transaction": 1.0, OVERLAPPING: 3.0}
"""What a fault may take beyond the lease at the 99th percentile."""
DRAIN_S = 0.5
"""The longest gap of a drain at the 99th percentile."""


class Recovery(NamedTuple):
    """How long the entities of one kind of fault were away, in seconds; `target` is None where nothing is promised."""

    fault: str
    entities: int
    p50: float
    p99: float
    longest: float
    target: float | None

    @property
    def met(self) -> bool:
        return self.target is None or self.p99 < self.target


KEEPS_AWAY = frozenset({*BEYOND_LEASE_S, "block loop", "kill store", "freeze store", "lose store link"})
"""After these nobody may be there who could take over."""


def recoveries(injections: Sequence[Injection], events: Iterable[Event], *, lease_ttl_s: float) -> list[Recovery]:
    """By kind of fault, for those that had the cluster for themselves; and all others of one sort together.

    Where faults overlap the time counts from the last of them that could keep entities away, and for one of the store
    from its end.
    """
    gaps: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.workload == "probe":
            gaps[event.key].append(event)
    later = [
        one.ended if one.target == "store" else one.began
        for one in injections
        if one.overlapped and one.fault in KEEPS_AWAY
    ]
    seen: dict[str, list[float]] = defaultdict(list)
    for injection in injections:
        if injection.owned is not None:
            name = OVERLAPPING if injection.overlapped else injection.fault
            seen[name] += _aways(injection, injection.owned, gaps, later if injection.overlapped else ())
    return [_told(name, sorted(aways), lease_ttl_s) for name, aways in sorted(seen.items()) if aways]


def _aways(
    injection: Injection, owned: frozenset[str], gaps: dict[str, list[Event]], later: Sequence[float]
) -> Iterator[float]:
    """For each entity that lived where the fault struck; 0 where no gap was long enough to be noted."""
    whole = injection.fault == "drain"
    until = injection.ended if whole else injection.began + 1.0
    for probe in owned:
        away = 0.0
        for gap in gaps[probe]:
            if gap.called < until and gap.returned > injection.began:
                began = gap.called if whole and not later else max(gap.called, injection.began)
                began = max([began, *(moment for moment in later if moment < gap.returned)])
                away = max(away, gap.returned - began)
        yield away


def _told(name: str, aways: Sequence[float], lease_ttl_s: float) -> Recovery:
    beyond = BEYOND_LEASE_S.get(name)
    target = DRAIN_S if name == "drain" else None if beyond is None else lease_ttl_s + beyond
    return Recovery(name, len(aways), percentile(aways, 0.5), percentile(aways, 0.99), aways[-1], target)


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
