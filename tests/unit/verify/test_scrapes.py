"""What runners have counted is held against the store, one by one."""

from __future__ import annotations

import pytest

from holdfast.verify.scrapes import LastWord, disagreements

STORED = {(1, "enqueued"): 3, (1, "completed"): 2, (2, "completed"): 5}


def word(enqueued: float, completed: float) -> LastWord:
    labels = {"job_type": "note"}
    return LastWord(1, [("jobs_enqueued_total", labels, enqueued), ("jobs_completed_total", labels, completed)])


def test_numbers_that_agree_say_nothing() -> None:
    """A runner that can't be asked is left out."""
    assert disagreements([word(3, 2)], STORED) == []


@pytest.mark.parametrize("wrong", [word(2, 2), word(3, 3), LastWord(3, [("jobs_dead_lettered_total", {}, 1)])])
def test_numbers_that_do_not_are_named(wrong: LastWord) -> None:
    """Too few, too many, and of what the store knows nothing."""
    assert len(disagreements([wrong], STORED)) == 1
