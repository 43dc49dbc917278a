"""Where a turn waits that has to run again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from holdfast.entities.turns import Activation, HandlerTurn
from holdfast.model.address import Address


def activation() -> Activation:
    return Activation(cast(Any, SimpleNamespace(stateless=False)), Address("Account", "dora"), 0)


def turn(at: Activation, *, due_at: int = 0) -> HandlerTurn:
    made = HandlerTurn(at, cast(Any, None), (), None, 1.0)
    made.due_at = due_at
    return made


def test_one_that_ran_in_vain_waits_behind_those_that_wait_for_their_next_try_and_before_all_others() -> None:
    """Simulated seed 120: an earlier message waited for its next try when the one behind it came back."""
    entity = activation()
    earlier, later, new = turn(entity, due_at=1), turn(entity), turn(entity)
    entity.hold_first(earlier)
    assert entity.held is not None
    entity.held.append(new)
    entity.hold_first(later)
    assert list(entity.held) == [earlier, later, new]
