"""How long entities were away is told by kind of fault, and apart for faults that overlapped."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from holdfast.verify.evidence import Ticking
from holdfast.verify.finals import ticking
from holdfast.verify.history import Event
from holdfast.verify.recovery import recoveries
from holdfast.verify.storm import Injection


def gap(probe: str, began: float, ended: float) -> Event:
    return Event("probe", probe, "s", "", "gap", began, ended, "ok")


def injection(fault: str, began: float, ended: float, *, overlapped: bool = False) -> Injection:
    owned = frozenset({"probe-1"})
    return Injection(fault=fault, target="runner-0", began=began, ended=ended, overlapped=overlapped, owned=owned)


@pytest.mark.parametrize(("away", "met"), [(6.5, True), (7.5, False)])
def test_a_kill_counts_from_its_beginning_to_the_first_answer(away: float, met: bool) -> None:
    """And is late where that takes more than a lease and a second."""
    (found,) = recoveries([injection("kill", 10.0, 20.0)], [gap("probe-1", 9.9, 10.0 + away)], lease_ttl_s=6.0)
    assert (found.fault, found.longest, found.met) == ("kill, alone", away, met)


def test_where_faults_overlap_it_counts_from_the_last_that_kept_the_entity_away() -> None:
    """For one of the store from its end."""
    done = [
        injection("kill", 10.0, 11.0, overlapped=True),
        Injection(fault="kill store", target="store", began=12.0, ended=15.0, overlapped=True),
    ]
    (found,) = recoveries(done, [gap("probe-1", 10.0, 18.0)], lease_ttl_s=6.0)
    assert (found.fault, found.longest) == ("overlapping, with kill store", 3.0)


def test_the_occurrences_of_a_schedule_are_counted_from_the_first_to_the_last() -> None:
    """One that is missing in between is either counted as missed or lost."""
    keys = [f"schedule/s/2026-01-01T00:0{minute}:00Z" for minute in (1, 2, 4)] + ["schedule/t/2026-01-01T00:00:00Z"]
    assert ticking("s", datetime(2026, 1, 1, 0, 4, tzinfo=UTC), 1, keys) == Ticking("s", 4, 3, 1)
