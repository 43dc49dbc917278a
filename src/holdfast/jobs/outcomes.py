"""What the end of an attempt means for its job. Pure: the clock's reading and the randomness come in.

How an attempt can end           what follows

Returned                         Completed
Raised, TimedOut                 Retry, until the tries are used up; then Dead(MaxRetries)
Raised an error that the type
  gives up on, or not retries    Dead(the error's reason)
Undecodable                      Dead(Validation): the next attempt would get the same arguments
Unencodable                      Dead(SerializationError): the work is done, doing it again would not help
Interrupted by a cancel          Cancelled
GivenBack by a drain             Available again; the attempt does not count
"""

from __future__ import annotations

import dataclasses
from random import Random
from typing import NamedTuple, assert_never

from holdfast.errors import HoldfastError, JobFailed, JobInvalid, JobTimeout
from holdfast.kit.backoff import Backoff
from holdfast.metrics import error_tag
from holdfast.model.ids import micros

ERROR_CHARS_MAX = 2000


class Returned(NamedTuple):
    """The handler returned; `result` is encoded, None for None."""

    result: bytes | None


class Raised(NamedTuple):
    """The handler raised. `given_up` says whether its type's rule gives up on that; None leaves it to be looked up."""

    error: BaseException
    given_up: bool | None = None


class TimedOut(NamedTuple):
    """The attempt used up its time."""

    timeout_us: int


class Undecodable(NamedTuple):
    """The payload is not what the handler takes."""

    error: Exception


class Unencodable(NamedTuple):
    """What the handler returned can't be stored."""

    error: Exception


class Interrupted(NamedTuple):
    """A cancel ended the attempt, or came before its handler had begun."""


class GivenBack(NamedTuple):
    """The runner stops; somebody else will run the job."""


AttemptEnd = Returned | Raised | TimedOut | Undecodable | Unencodable | Interrupted | GivenBack


class Completed(NamedTuple):
    result: bytes | None


class Retry(NamedTuple):
    at_us: int
    reason: str
    error: str


class Dead(NamedTuple):
    reason: str
    error: str


class Cancelled(NamedTuple):
    pass


class Available(NamedTuple):
    pass


Outcome = Completed | Retry | Dead | Cancelled | Available


@dataclasses.dataclass(frozen=True, slots=True)
class RetryRule:
    """When a failed attempt is tried again."""

    retry_on: tuple[type[Exception], ...]
    give_up_on: tuple[type[Exception], ...]
    backoff: Backoff


def decide(end: AttemptEnd, *, number: int, max_attempts: int, rule: RetryRule, now_us: int, random: Random) -> Outcome:
    """What follows from the end of attempt `number` (from 1)."""
    match end:
        case Returned(result):
            return Completed(result)
        case Raised() | TimedOut():
            error = failure_of(end)
            if _given_up(end, rule):
                return Dead(error_tag(error), described(error))
            if number >= max_attempts:
                return Dead("MaxRetries", described(error))
            return Retry(now_us + micros(rule.backoff.delay_s(number, random)), error_tag(error), described(error))
        case Undecodable() | Unencodable():
            error = failure_of(end)
            return Dead(error_tag(error), described(error))
        case Interrupted():
            return Cancelled()
        case GivenBack():
            return Available()
        case _:
            assert_never(end)


def failure_of(end: Raised | TimedOut | Undecodable | Unencodable) -> BaseException:
    """The error under whose reason the attempt counts: ours has one, that of a handler counts as Processing.

    The handler's own error is its `__cause__`, so that its name is what people read.
    """
    match end:
        case Raised(error):
            if isinstance(error, HoldfastError) or error_tag(error) != type(error).__name__:
                return error
            failure: Exception = JobFailed(str(error))
            failure.__cause__ = error
            return failure
        case TimedOut(timeout_us):
            return JobTimeout(f"the attempt used up its {timeout_us / 1e6:g} s")
        case Undecodable(error):
            failure = JobInvalid(str(error))
            failure.__cause__ = error
            return failure
        case Unencodable(error):
            return error
        case _:
            assert_never(end)


def described(error: BaseException) -> str:
    """An error in one line, bounded, for the store and for people."""
    shown = error.__cause__ if isinstance(error, JobFailed) and error.__cause__ is not None else error
    text = f"{type(shown).__name__}: {shown}".encode(errors="backslashreplace").decode().replace("\x00", "\\x00")
    return text if len(text) <= ERROR_CHARS_MAX else text[:ERROR_CHARS_MAX] + "..."


def _given_up(end: Raised | TimedOut, rule: RetryRule) -> bool:
    match end:
        case Raised(error, given_up):
            if given_up is not None:
                return given_up
            return isinstance(error, rule.give_up_on) or (
                isinstance(error, Exception) and not isinstance(error, rule.retry_on)
            )
        case TimedOut():
            return any(issubclass(JobTimeout, kind) for kind in rule.give_up_on)
        case _:
            assert_never(end)
