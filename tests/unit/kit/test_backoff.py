"""Backoff grows to its ceiling and no further, and jitter stays inside its part of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kit.backoff import Backoff, Jitter


def test_the_ceiling_doubles_until_it_is_reached() -> None:
    """0.1, 0.2, 0.4 ... and then the bound."""
    backoff = Backoff(first_s=0.1, ceiling_s=1.0)
    assert [backoff.ceiling_of(n) for n in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_the_attempt_number_has_no_bound() -> None:
    """What has failed for a year still waits no longer than the ceiling."""
    assert Backoff(ceiling_s=60.0).ceiling_of(10_000_000) == 60.0


@pytest.mark.parametrize(("jitter", "least"), [("full", 0.0), ("equal", 0.5), ("none", 1.0)])
@given(attempt=st.integers(1, 200), seed=st.integers())
def test_jitter_takes_only_its_part(jitter: Jitter, least: float, attempt: int, seed: int) -> None:
    """The delay lies between the jitter's least share and the whole of the ceiling."""
    backoff = Backoff(jitter=jitter)
    ceiling = backoff.ceiling_of(attempt)
    assert least * ceiling <= backoff.delay_s(attempt, Random(seed)) <= ceiling


@pytest.mark.parametrize("jitter", ["full", "equal"])
def test_jitter_spreads(jitter: Jitter) -> None:
    """Callers who failed together come back apart."""
    random = Random(1)
    assert len({Backoff(jitter=jitter).delay_s(3, random) for _ in range(50)}) == 50


def test_the_same_random_gives_the_same_delays() -> None:
    """Nothing but what is passed in decides."""
    backoff = Backoff()
    assert [backoff.delay_s(n, Random(7)) for n in (1, 2)] == [backoff.delay_s(n, Random(7)) for n in (1, 2)]


@pytest.mark.parametrize(
    "bounds",
    [{"first_s": 0}, {"first_s": 2, "ceiling_s": 1}, {"factor": 0.5}, {"ceiling_s": float("inf")}, {"first_s": -1}],
)
def test_senseless_bounds_are_refused(bounds: dict[str, float]) -> None:
    """A bound that would wait for ever, or not at all, is an error when it is made."""
    with pytest.raises(ValueError, match="backoff needs"):
        Backoff(**bounds)  # type: ignore[arg-type]


def test_attempts_count_from_one() -> None:
    """Attempt 0 is a mistake of the caller."""
    with pytest.raises(ValueError, match="from 1"):
        Backoff().ceiling_of(0)
