"""Whether what runners have counted is what the store has of it, for each runner that could say its last word.

A runner that was killed took its last numbers with it, and one that was reaped can't know of its last commit; the
others have counted every job that they took in, and every end that they wrote: no more and no less. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Counters = Sequence[tuple[str, Mapping[str, str], float]]
COUNTED = {
    "jobs_enqueued_total": "enqueued",
    "jobs_completed_total": "completed",
    "jobs_cancelled_total": "cancelled",
    "jobs_dead_lettered_total": "dead",
}
"""Metrics, and what the store calls it."""
Stored = Mapping[tuple[int, str], int]
"""By runner id and what it is."""


class LastWord(NamedTuple):
    """What an incarnation has counted, from its beginning to its end or to a rest."""

    runner_id: int
    counters: Counters


def disagreements(words: Iterable[LastWord], stored: Stored) -> list[str]:
    found: list[str] = []
    for word in words:
        for metric, what in COUNTED.items():
            counted = sum(value for name, _, value in word.counters if name == metric)
            there = stored.get((word.runner_id, what), 0)
            if counted != there:
                found.append(f"runner {word.runner_id} counted {counted:g} jobs as {what}; the store has {there}")
    return found
