"""Which occurrences have come due: pure arithmetic on a cron's moments."""

from __future__ import annotations

from typing import NamedTuple

from .cron import Cron

LOOKED_AT_MAX = 200
"""Occurrences looked at in one go, so that a long outage of a busy schedule does not hold up the event loop."""


class Due(NamedTuple):
    """What came due. Moments are microseconds since the epoch."""

    newest: int
    """The one that counts; 0 where nothing is due, or where even newer ones have not been looked at yet."""
    older: int
    """How many came due before it."""
    settled_until: int
    """Up to here nothing is left to look at but the newest."""


def due(cron: Cron, *, after: int, until: int) -> Due:
    """The occurrences in `(after, until]`, at most `LOOKED_AT_MAX` of them."""
    newest = count = 0
    for at_us in cron.after(after):
        if at_us > until:
            return Due(newest, max(0, count - 1), until)
        if count == LOOKED_AT_MAX:
            break
        newest, count = at_us, count + 1
    return Due(0, count, newest)
