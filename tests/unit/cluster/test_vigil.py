"""Who has been asleep, or whose store has set its clock, declares nobody dead."""

from __future__ import annotations

from holdfast.cluster.vigil import Vigil


def heard(vigil: Vigil, at: float, *, clock_s: float | None = None, took_s: float = 0.01) -> None:
    vigil.heard(asked_at=at - took_s, answered_at=at, now_us=round((at if clock_s is None else clock_s) * 1e6))


def awake() -> Vigil:
    vigil = Vigil(ttl_s=6.0, first_s=2.0)
    heard(vigil, 0.0)
    heard(vigil, 2.0)
    return vigil


def test_who_has_just_registered_leaves_the_others_time_to_renew() -> None:
    vigil = Vigil(ttl_s=6.0, first_s=2.0)
    assert not vigil.may_reap(0.0)
    heard(vigil, 0.0)
    assert not vigil.may_reap(1.9)
    assert vigil.may_reap(2.0)


def test_who_renews_in_time_may_reap() -> None:
    assert awake().may_reap(2.5)


def test_who_has_not_heard_of_the_store_for_a_lease_may_not() -> None:
    assert not awake().may_reap(8.1)


def test_after_a_late_renewal_one_lease_is_waited() -> None:
    vigil = awake()
    heard(vigil, 12.0)
    assert not vigil.may_reap(12.1)
    heard(vigil, 17.0)
    assert vigil.may_reap(18.0)


def test_an_answer_that_took_longer_than_the_lease_is_late_too() -> None:
    vigil = awake()
    vigil.heard(asked_at=4.0, answered_at=11.0, now_us=5_000_000)
    assert not vigil.may_reap(9.9)


def test_after_a_step_of_the_store_s_clock_one_lease_is_waited() -> None:
    for step_s in (-1.5, 1.5):
        vigil = awake()
        heard(vigil, 4.0, clock_s=4.0 + step_s)
        assert not vigil.may_reap(4.1)
        heard(vigil, 6.0, clock_s=6.0 + step_s)
        heard(vigil, 8.0, clock_s=8.0 + step_s)
        assert not vigil.may_reap(9.9)
        assert vigil.may_reap(10.0)


def test_who_has_only_just_registered_and_finds_an_ended_lease_waits_one_too() -> None:
    """The clock may have stepped the moment before."""
    vigil = Vigil(ttl_s=6.0, first_s=2.0)
    vigil.heard(asked_at=0.0, answered_at=0.1, now_us=0, ended=True)
    vigil.heard(asked_at=2.0, answered_at=2.1, now_us=2_000_000, ended=True)
    vigil.heard(asked_at=4.0, answered_at=4.1, now_us=4_000_000, ended=True)
    assert not vigil.may_reap(6.0)
    assert vigil.may_reap(6.2)


def test_a_slow_answer_is_no_step_of_the_clock() -> None:
    vigil = awake()
    vigil.heard(asked_at=4.0, answered_at=6.5, now_us=4_000_000)
    assert vigil.may_reap(6.6)
