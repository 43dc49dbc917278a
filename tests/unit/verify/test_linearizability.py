"""Histories of a register, by hand: what can have happened one after the other, and what can't."""

from __future__ import annotations

import math

import pytest

from holdfast.verify.linearizability import Operation, Verdict, verdict


def read(called: float, returned: float, result: int) -> Operation:
    return Operation("read", called, returned, result=result)


def write(called: float, returned: float, value: int) -> Operation:
    return Operation("write", called, returned, wrote=value)


def swap(called: float, returned: float, expected: int, value: int, swapped: bool | None) -> Operation:
    return Operation("compare", called, returned, expected, value, swapped)


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [write(0, 1, 5), read(2, 3, 5)],
        [write(0, 9, 5), read(1, 2, 0), read(3, 4, 5)],
        [write(0, 9, 1), write(0, 9, 2), read(10, 11, 1)],
        [swap(0, 1, 0, 3, True), swap(2, 3, 0, 4, False), read(4, 5, 3)],
        [write(0, math.inf, 7), read(1, 2, 0), read(5, 6, 7)],
        [write(0, math.inf, 7), read(1, 2, 0), read(5, 6, 0)],
        [swap(0, math.inf, 0, 7, None), read(5, 6, 7)],
    ],
)
def test_what_can_have_been(operations: list[Operation]) -> None:
    """Unknown outcomes included: they may take effect late, or never."""
    assert verdict(operations) is Verdict.LINEARIZABLE


@pytest.mark.parametrize(
    "operations",
    [
        [write(0, 1, 5), read(2, 3, 0)],
        [write(0, 9, 5), read(1, 2, 5), read(3, 4, 0)],
        [swap(0, 1, 0, 3, True), swap(2, 3, 0, 4, True)],
        [write(0, 1, 1), swap(2, 3, 1, 2, False)],
        [write(0, math.inf, 7), read(1, 2, 7), read(3, 4, 0)],
    ],
)
def test_what_cannot_have_been(operations: list[Operation]) -> None:
    """A lost write, a stale read, two winners."""
    assert verdict(operations) is Verdict.VIOLATED


def test_a_search_that_takes_too_long_is_undecided() -> None:
    """It is never taken for a good sign."""
    crowd = [write(0, 100, value) for value in range(12)]
    assert verdict([*crowd, read(101, 102, 99)], steps_max=50) is Verdict.UNDECIDED
