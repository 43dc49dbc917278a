"""Which faults overlap, and which may end what was running."""

from __future__ import annotations

from holdfast.verify.evidence import Harm
from holdfast.verify.storm import Injection, Storm, harms, mark_overlaps


def injection(fault: str, began: float, ended: float) -> Injection:
    return Injection(fault=fault, target="runner-0", began=began, ended=ended)


def test_faults_overlap_where_the_consequences_of_one_meet_the_other() -> None:
    long, inside, meets, apart = (
        injection("freeze", 0.0, 10.0),
        injection("kill", 1.0, 2.0),
        injection("drain", 11.0, 12.0),
        injection("kill", 15.0, 16.0),
    )
    mark_overlaps([apart, inside, meets, long], after_s=2.0)
    assert [one.overlapped for one in (long, inside, meets, apart)] == [True, True, True, False]


def test_a_drain_is_over_with_its_end() -> None:
    """Nobody waits for a lease after it."""
    first, next_one = injection("drain", 0.0, 2.0), injection("drain", 3.0, 5.0)
    mark_overlaps([first, next_one], after_s=2.0)
    assert not first.overlapped and not next_one.overlapped


def test_a_kind_that_never_has_an_effect_is_an_error() -> None:
    """One that had none because of others is only not counted."""
    done = [injection("kill", 0.0, 1.0)]
    for kind, tries in (("kill", 5), ("drop packets", 4), ("step clock", 5)):
        done += [Injection(fault=kind, target="runner-0", began=1.0, no_effect="nothing there") for _ in range(tries)]
    found = Storm(injections=done)
    assert [one.fault for one in found.struck] == ["kill"]
    assert found.errors == ["step clock: no effect in 5 tries"]


def test_a_drain_is_no_harm() -> None:
    """Every other fault is one, from a little before to a little after."""
    done = [injection("drain", 0.0, 1.0), injection("rolling restart", 0.0, 5.0), injection("kill", 10.0, 11.0)]
    assert harms(done, margin_s=2.0) == [Harm("runner-0", 8.0, 13.0)]
