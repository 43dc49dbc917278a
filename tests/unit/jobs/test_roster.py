"""What is held by id, and what leaves while somebody reads."""

from __future__ import annotations

from holdfast.jobs.roster import Roster


def test_readings_that_overlap_each_hear_of_what_leaves() -> None:
    """Also where the same jobs have left in both by the time one of them ends."""
    roster = Roster()
    with roster.reading() as outer:
        with roster.reading() as inner:
            roster.let_go(1)
        roster.let_go(2)
    assert (outer, inner) == ({1, 2}, {1})


def test_a_reading_may_end_before_one_that_began_earlier_and_saw_as_much() -> None:
    """Readings are of tasks: they end in any order."""
    roster = Roster()
    first, second = roster.reading(), roster.reading()
    left_in_first, left_in_second = first.__enter__(), second.__enter__()
    second.__exit__(None, None, None)
    roster.let_go(7)
    first.__exit__(None, None, None)
    assert (left_in_first, left_in_second) == ({7}, set())
