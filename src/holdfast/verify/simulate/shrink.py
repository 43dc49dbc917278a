"""Making a plan that fails smaller, so that somebody can understand it: fewer faults, finer weather, fewer steps, fewer
runners. What is left out changes nothing of what stays, so a smaller plan usually fails in the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from .plan import Plan, Weather

T = TypeVar("T")

TRIES_MAX = 120

Fails = Callable[[Plan], bool]


def shrunk(plan: Plan, fails: Fails, *, tries_max: int = TRIES_MAX) -> Plan:
    """The smallest plan that was found to fail; `plan` itself where none does. Runs at most so many."""
    tries = 0
    while True:
        for smaller in _smaller(plan):
            if tries >= tries_max:
                return plan
            tries += 1
            if fails(smaller):
                plan = smaller
                break
        else:
            return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """The plans to try next, those that leave out most first."""
    for faults in _without_some(plan.faults):
        yield dataclasses.replace(plan, faults=faults)
    for field in dataclasses.fields(Weather):
        fine = getattr(Weather(), field.name)
        if getattr(plan.weather, field.name) != fine:
            yield dataclasses.replace(plan, weather=dataclasses.replace(plan.weather, **{field.name: fine}))
    for steps in _without_some(plan.steps):
        yield dataclasses.replace(plan, steps=steps)
    for runners in range(1, plan.runners):
        yield dataclasses.replace(plan, runners=runners)


def _without_some(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Without all, without a half, a quarter, and so on down to one."""
    size = len(items)
    while size:
        for start in range(0, len(items), size):
            yield [*items[:start], *items[start + size :]]
        size //= 2
