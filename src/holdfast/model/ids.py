"""Ids as distinct types, so that one kind never travels as another.

All ids are 63-bit integers handed out in ascending blocks by the store; a job's id is shown as decimal text.
Moments are microseconds since the Unix epoch, UTC, on the store's clock.
"""

from __future__ import annotations

from typing import NewType

MessageId = NewType("MessageId", int)
JobId = NewType("JobId", str)
RunnerId = NewType("RunnerId", int)
Micros = NewType("Micros", int)

SECOND_US = 1_000_000


def micros(seconds: float) -> int:
    """Seconds as whole microseconds."""
    return round(seconds * SECOND_US)


def job_id(number: int) -> JobId:
    """The public form of a job's number."""
    return JobId(str(number))
