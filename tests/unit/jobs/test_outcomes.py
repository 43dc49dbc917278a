"""What the end of an attempt means: the table of `outcomes`, row by row."""

from __future__ import annotations

from random import Random

import pytest

from holdfast.errors import JobInvalid, JobTimeout, PersistenceError, SerializationError
from holdfast.jobs.outcomes import (
    AttemptEnd,
    Available,
    Cancelled,
    Completed,
    Dead,
    GivenBack,
    Interrupted,
    Outcome,
    Raised,
    Retry,
    RetryRule,
    Returned,
    TimedOut,
    Undecodable,
    Unencodable,
    decide,
    described,
)
from holdfast.kit.backoff import Backoff

BACKOFF = Backoff(first_s=1.0, ceiling_s=8.0, jitter="none")
RULE = RetryRule((OSError,), (FileNotFoundError,), BACKOFF)
ANY = RetryRule((Exception,), (), BACKOFF)


def after(end: AttemptEnd, *, number: int = 1, rule: RetryRule = ANY) -> Outcome:
    return decide(end, number=number, max_attempts=3, rule=rule, now_us=1_000_000, random=Random(1))


def test_what_returned_is_completed() -> None:
    """With its result, whatever the number of the attempt."""
    assert after(Returned(b"r"), number=3) == Completed(b"r")


def test_an_error_is_tried_again_until_the_tries_are_used_up() -> None:
    """With the pause of its number; the last one is dead, with its last error."""
    assert after(Raised(OSError("x")), number=1) == Retry(2_000_000, "Processing", "OSError: x")
    assert after(Raised(OSError("x")), number=2) == Retry(3_000_000, "Processing", "OSError: x")
    assert after(Raised(OSError("x")), number=3) == Dead("MaxRetries", "OSError: x")


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), ValueError("bad")])
def test_an_error_to_give_up_on_is_dead_at_once(error: Exception) -> None:
    """As is one that is not among those to retry on."""
    assert after(Raised(error), rule=RULE) == Dead("Processing", f"{type(error).__name__}: {error}")


def test_a_timeout_is_tried_again_unless_it_is_to_be_given_up_on() -> None:
    """Whatever errors of the handler are to be retried."""
    assert after(TimedOut(5_000_000), rule=RULE) == Retry(
        2_000_000, "Timeout", "JobTimeout: the attempt used up its 5 s"
    )
    assert isinstance(after(TimedOut(5_000_000), number=3), Dead)
    assert after(TimedOut(1), rule=RetryRule((Exception,), (JobTimeout,), BACKOFF)).__class__ is Dead


def test_our_own_errors_keep_their_reason() -> None:
    """A handler that raised PersistenceError failed by persistence, not by processing."""
    outcome = after(Raised(PersistenceError("disk full")))
    assert isinstance(outcome, Retry)
    assert outcome.reason == "PersistenceError"


def test_a_payload_that_does_not_decode_is_dead_with_validation() -> None:
    """Another attempt would get the same bytes."""
    outcome = after(Undecodable(JobInvalid("no such field")))
    assert isinstance(outcome, Dead)
    assert outcome.reason == "Validation"


def test_a_result_that_can_t_be_stored_is_dead() -> None:
    """The work was done: doing it again would do it twice."""
    assert after(Unencodable(SerializationError("a socket"))) == Dead(
        "SerializationError", "SerializationError: a socket"
    )


def test_cancelled_and_given_back_attempts_are_no_failures() -> None:
    """One ends the job, the other leaves it as it was."""
    assert after(Interrupted()) == Cancelled()
    assert after(GivenBack(), number=3) == Available()


def test_an_error_is_described_in_bounded_text_that_any_store_takes() -> None:
    """No lone surrogate, no NUL, no megabytes."""
    text = described(ValueError("\ud800\x00" + "x" * 10_000))
    assert text.encode()
    assert "\x00" not in text
    assert len(text) < 2100
