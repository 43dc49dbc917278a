"""One series each: what a child counts."""

from threading import RLock, Thread

import pytest

from holdfast.metrics import BOUNDARIES
from holdfast.metrics.children import (
    CounterChild,
    GaugeChild,
    HistogramChild,
    LockedCounterChild,
    LockedHistogramChild,
)


@pytest.mark.parametrize("child", [CounterChild(), LockedCounterChild(RLock())], ids=["own", "locked"])
def test_a_counter_only_grows(child: CounterChild) -> None:
    """Any step up, none down, and a NaN would never go away again."""
    child.inc()
    child.inc(2.5)
    child.inc(0)
    for wrong in (-1, float("nan"), float("inf"), 10**400):
        with pytest.raises(ValueError, match="only grows"):
            child.inc(wrong)
    assert child.value == 3.5


def test_a_gauge_is_unknown_until_it_is_written() -> None:
    """Not zero: nobody has said so."""
    child = GaugeChild(RLock())
    assert child.value is None
    child.inc(3)
    child.dec()
    assert child.value == 2
    child.set(7)
    for wrong in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="finite"):
            child.inc(wrong)
    assert child.value == 7
    child.set(float("inf"))
    child.set(8)
    assert child.value == 8


@pytest.mark.parametrize("locked", [False, True])
def test_an_observation_falls_into_the_first_bucket_that_holds_it(locked: bool) -> None:
    """A bound belongs to its bucket; what is beyond the last one counts in infinity only."""
    bounds = BOUNDARIES.cluster
    child = LockedHistogramChild(bounds, RLock()) if locked else HistogramChild(bounds)
    for value in (0.0, 0.001, 0.0011, 0.1, 5.0, 5.1, 1e300):
        child.observe(value)
    assert child.cumulated() == [2, 3, 3, 4, 4, 4, 5, 7]
    assert child.count == 7
    assert child.sum == 1e300


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("wrong", [float("inf"), float("nan")])
def test_what_would_spoil_the_sum_is_not_observed(wrong: float, locked: bool) -> None:
    bounds = BOUNDARIES.cluster
    child = LockedHistogramChild(bounds, RLock()) if locked else HistogramChild(bounds)
    child.observe(0.5)
    with pytest.raises(ValueError, match="can't be observed"):
        child.observe(wrong)
    assert (child.count, child.sum) == (1, 0.5)


def test_a_histogram_of_one_bound_counts() -> None:
    """The smallest there is: one bound and infinity."""
    child = HistogramChild((1.0,))
    for value in (0.5, 1.0, 2.0):
        child.observe(value)
    assert child.cumulated() == [2, 3]
    assert child.sum == 3.5


def test_locked_children_lose_nothing_between_threads() -> None:
    """Many threads, one child, every increment counted."""
    counter, histogram, gauge = LockedCounterChild(RLock()), LockedHistogramChild((1.0,), RLock()), GaugeChild(RLock())

    def work() -> None:
        for _ in range(2000):
            counter.inc()
            histogram.observe(0.5)
            gauge.inc()

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counter.value, histogram.count, histogram.sum, gauge.value) == (8000, 8000, 4000.0, 8000)
