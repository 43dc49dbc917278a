"""The line in front of an entity: whoever comes back stands where it stood."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, cast

from holdfast.entities.turns import Activation, HandlerTurn
from holdfast.model.address import Address


def activation() -> Activation:
    return Activation(cast(Any, SimpleNamespace(stateless=False)), Address("Account", "dora"), 0)


def turn(at: Activation, number: int, *, keeps_place: bool = True, blocked: bool = False) -> HandlerTurn:
    made = HandlerTurn(at, cast(Any, None), (), None, 1.0)
    made.number, made.keeps_place, made.blocked = number, keeps_place, blocked
    return made


def numbers(turns: Any) -> list[int]:
    return [each.number for each in turns or ()]


def test_what_keeps_its_place_is_held_behind_one_that_is_blocked_and_the_rest_goes_on() -> None:
    entity = activation()
    entity.line_up(turn(entity, 1), turn(entity, 2, blocked=True), turn(entity, 3), turn(entity, 4, keeps_place=False))
    assert numbers(entity.waiting) == [1, 4]
    assert numbers(entity.held) == [2, 3]


def test_one_that_ran_in_vain_waits_behind_an_earlier_one_wherever_that_one_waits() -> None:
    """Simulated seed 120: an earlier message waited for its next try when the one behind it came back."""
    entity = activation()
    earlier, later, new = turn(entity, 1, blocked=True), turn(entity, 2), turn(entity, 3)
    entity.line_up(earlier, new)
    entity.line_up(later)
    assert numbers(entity.held) == [1, 2, 3]
    earlier.blocked = False
    entity.line_up(earlier)
    assert numbers(entity.waiting) == [1, 2, 3]
    assert entity.held is None


def test_the_line_is_in_order_whatever_becomes_of_those_in_it() -> None:
    rng = Random(7)
    entity = activation()
    everyone = [turn(entity, number + 1, keeps_place=rng.random() < 0.8) for number in range(50)]
    for _ in range(500):
        one = rng.choice(everyone)
        one.blocked, one.abandoned = rng.random() < 0.1, rng.random() < 0.1
        entity.line_up(one)
        held, waiting = list(entity.held or ()), list(entity.waiting or ())
        assert numbers(held) == sorted(numbers(held)) and numbers(waiting) == sorted(numbers(waiting))
        assert not any(each.abandoned for each in held + waiting) and not set(held) & set(waiting)
        assert not held or held[0].blocked
        assert all(each.number < held[0].number or not each.keeps_place for each in waiting if held)
        assert not any(each.blocked for each in waiting)
