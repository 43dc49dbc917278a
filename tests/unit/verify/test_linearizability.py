"""Histories of a register, by hand: what can have happened one after the other, and what can't."""

from __future__ import annotations

import itertools
import math
import random

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


def every_order(operations: list[Operation]) -> bool:
    """By trying all orders of all that may have happened."""
    return any(
        explains(order)
        for count in range(len(operations) + 1)
        for order in itertools.permutations(operations, count)
        if all(one in order for one in operations if one.known)
    )


def explains(order: tuple[Operation, ...]) -> bool:
    value: int | None = 0
    for place, one in enumerate(order):
        if any(later.returned < one.called for later in order[place:]):
            return False
        value = one.applied(value)
        if value is None:
            return False
    return True


@pytest.mark.parametrize("seed", range(3))
def test_the_verdict_is_that_of_trying_all_orders(seed: int) -> None:
    """On small histories of every kind; both verdicts come."""
    rng, found = random.Random(seed), set[Verdict]()
    for _ in range(150):
        history: list[Operation] = []
        for _ in range(rng.randrange(1, 6)):
            called = rng.uniform(0, 4)
            returned = called + rng.uniform(0, 3) if rng.random() < 0.7 else math.inf
            value, result = rng.randrange(1, 3), rng.randrange(3)
            history.append(
                rng.choice(
                    [
                        Operation("read", called, returned, result=result),
                        write(called, returned, value),
                        swap(called, returned, rng.randrange(3), value, rng.random() < 0.5),
                    ]
                )
            )
        judged = verdict(history)
        assert judged is (Verdict.LINEARIZABLE if every_order(history) else Verdict.VIOLATED), history
        found.add(judged)
    assert len(found) == 2


def test_a_history_of_unknown_outcomes_is_decided() -> None:
    """However many of them may or may not have happened."""
    lost = [write(step, math.inf, step % 5) for step in range(40)]
    reads = [read(step + 0.1, step + 0.2, 7) for step in range(40)]
    assert verdict([*lost, *reads, write(0, 0.05, 7)]) is Verdict.LINEARIZABLE
    assert verdict([*lost, *reads, write(0, 0.05, 7), read(50, 51, 9)]) is Verdict.VIOLATED


def test_a_search_that_takes_too_long_is_undecided() -> None:
    """It is never taken for a good sign."""
    crowd = [write(0, 100, value) for value in range(12)]
    assert verdict([*crowd, read(101, 102, 99)], steps_max=50) is Verdict.UNDECIDED
