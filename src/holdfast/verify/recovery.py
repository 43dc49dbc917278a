"""How long entities did not answer after a fault: from the fault to the first answer that came after it. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .disk import FULL_DISK
from .history import Event
from .network import DROP_PACKETS, LINK_DOWN
from .storm import Injection

OVERLAPPING, OVERLAPPING_KILL_STORE = "overlapping", "overlapping, with kill store"
BEYOND_LEASE_S = {"kill": 1.0, "freeze": 1.0, "freeze in transaction": 1.0, LINK_DOWN: 1.0} | {
    OVERLAPPING: 3.0,
    OVERLAPPING_KILL_STORE: 3.0,
}
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


KEEPS_AWAY = frozenset({*BEYOND_LEASE_S, "lose store link", DROP_PACKETS})
"""From the beginning of these on nobody may be there who could take over."""
HOLDS_UP = frozenset({"block loop", "memory limit", "kill store", "freeze store", FULL_DISK})
"""Until the end of these: nobody takes the place of a store, nor, for so short a time, of who keeps his lease."""


def recoveries(injections: Sequence[Injection], events: Iterable[Event], *, lease_ttl_s: float) -> list[Recovery]:
    """By kind of fault, for those that had the cluster for themselves; and all that overlapped together.

    Where faults overlap the time counts from the last of them that could keep entities away.
    """
    gaps: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.workload == "probe":
            gaps[event.key].append(event)
    overlapped = [one for one in injections if one.overlapped]
    later = [one.began for one in overlapped if one.fault in KEEPS_AWAY]
    later += [one.ended for one in overlapped if one.fault in HOLDS_UP]
    kills = [one for one in overlapped if one.fault == "kill store"]
    seen: dict[str, list[float]] = defaultdict(list)
    for injection in injections:
        if injection.owned is not None:
            name = f"{injection.fault}, alone"
            if injection.overlapped:
                met = any(_meet(injection, one, lease_ttl_s) for one in kills)
                name = OVERLAPPING_KILL_STORE if met else OVERLAPPING
            seen[name] += _aways(injection, injection.owned, gaps, later if injection.overlapped else ())
    return [_told(name, sorted(aways), lease_ttl_s) for name, aways in sorted(seen.items()) if aways]


def _meet(one: Injection, other: Injection, after_s: float) -> bool:
    return one.began < other.ended + after_s and other.began < one.ended + after_s


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
    fault = name.removesuffix(", alone")
    beyond = BEYOND_LEASE_S.get(fault)
    target = DRAIN_S if fault == "drain" else None if beyond is None else lease_ttl_s + beyond
    return Recovery(name, len(aways), percentile(aways, 0.5), percentile(aways, 0.99), aways[-1], target)


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
