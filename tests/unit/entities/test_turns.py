"""Where a turn waits that has to run again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from holdfast.entities.turns import Activation, HandlerTurn
from holdfast.model.address import Address


def activation() -> Activation:
    return Activation(cast(Any, SimpleNamespace(stateless=False)), Address("Account", "dora"), 0)


def turn(at: Activation, *, has_run: bool) -> HandlerTurn:
    made = HandlerTurn(at, cast(Any, None), (), None, 1.0)
    made.started_at = 1.0 if has_run else 0.0
    return made


def test_one_that_ran_in_vain_waits_behind_those_that_ran_before_it_and_before_all_others() -> None:
    """Simulated seed 120: an earlier message waited for its next try when the one behind it came back."""
    entity = activation()
    earlier, later, new = turn(entity, has_run=True), turn(entity, has_run=True), turn(entity, has_run=False)
    entity.hold_first(earlier)
    assert entity.held is not None
    entity.held.append(new)
    entity.hold_first(later)
    assert list(entity.held) == [earlier, later, new]


def test_so_does_one_in_the_mailbox_whose_earlier_one_is_being_tried_again() -> None:
    entity = activation()
    earlier, later, new = turn(entity, has_run=True), turn(entity, has_run=True), turn(entity, has_run=False)
    entity.put_back([earlier])
    assert entity.waiting is not None
    entity.waiting.append(new)
    entity.again = 0  # another instance by now
    entity.put_back([later])
    assert list(entity.waiting) == [earlier, later, new]
