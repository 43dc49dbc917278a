"""A submit on its way: the encoded arguments and the rules under which the job is to run.

Arguments are encoded where `submit` is called, so that a wrong one is refused there and nothing mutable is shared.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from holdfast.errors import JobInvalid
from holdfast.kit.hashing import shard_of
from holdfast.model.ids import micros
from holdfast.model.signature import ValueCodec
from holdfast.model.storable import A_WORD, WAIT_S_MAX, is_word, shortened

R_co = TypeVar("R_co", covariant=True)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRules:
    """How a job is to run. `max_attempts` and `timeout_us` of 0 leave the choice to the owner's settings.

    `at_us` is a moment, `delay_us` counts from the owner's admission. `tx` is the caller's own connection.
    """

    priority: int
    max_attempts: int = 0
    timeout_us: int = 0
    delay_us: int = 0
    at_us: int = 0
    key: str | None = None
    group: str | None = None
    detached: bool = False
    tx: object | None = None


class JobCall(msgspec.Struct, Generic[R_co], frozen=True):
    """A job to be submitted; made by `job.call(...)`. `result` decodes what the job will return."""

    job_type: str
    payload: bytes
    rules: SubmitRules
    result: ValueCodec


def due_at_us(at: datetime | None) -> int:
    """Raises JobInvalid for a moment without a time zone."""
    if at is None:
        return 0
    if at.tzinfo is None:
        raise JobInvalid("`at` needs a datetime with a time zone")
    return max(1, micros(at.timestamp()))


def checked_name(kind: str, text: object) -> str | None:
    """A key or group that a store can hold, or None. Raises JobInvalid."""
    if text is None:
        return None
    if not is_word(text):
        raise JobInvalid(f"a {kind} is {A_WORD}, not {shortened(text)}")
    assert isinstance(text, str)
    return text


def delay_us(delay: float | None) -> int:
    """Raises JobInvalid for what is no time to wait."""
    if delay is None:
        return 0
    if not 0 <= delay <= WAIT_S_MAX:
        raise JobInvalid(f"a `delay` is 0 to {WAIT_S_MAX:.0f} seconds, not {shortened(delay)}")
    return micros(delay)


def shard_of_job(job: int, job_type: str, rules: SubmitRules, shards: int) -> int:
    """Where a job belongs: with its group, else with its key, else anywhere, by its id."""
    if rules.group is not None:
        return shard_of(job_type, rules.group, shards)
    if rules.key is not None:
        return shard_of(job_type, rules.key, shards)
    return job % shards
