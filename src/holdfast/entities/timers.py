"""What one handler does to the timers of an entity, before it commits.

A store applies what takes rows away before what adds rows. So a timer that a handler sets twice, or sets and cancels,
has to be settled here: of what it staged under a name only the last counts. For the same reason a handler never commits
together with a run of a timer that it sets or cancels: what ran before it is in the store by then, and what falls due
meanwhile waits until it is known whether the timer is still there.
"""

from __future__ import annotations

from contextlib import suppress

from holdfast.errors import PersistenceError
from holdfast.model.address import Address
from holdfast.model.message import MessageRow, TimerCancel
from holdfast.ports.turn import Turn

from .manager import EntityManager
from .turns import HandlerTurn


async def part_from_runs(turn: HandlerTurn, address: Address, manager: EntityManager) -> None:
    """To be awaited before a handler sets or cancels a timer of this address."""
    if turn.activation.address == address:
        turn.alone = True
        with suppress(PersistenceError):  # then this handler runs in vain as well
            await manager.settled(turn.activation)


def unstage(turn: HandlerTurn, address: Address, name: str) -> bool:
    """Forgets the timer that this handler has set under the name; whether there was one."""
    staged = turn.rows or []
    kept = [row for row in staged if not (isinstance(row, MessageRow) and (row.address, row.name) == (address, name))]
    if len(kept) == len(staged):
        return False
    turn.rows = kept
    return True


def is_staged(turn: Turn, row: MessageRow) -> bool:
    """Whether the row is still among what the handler commits."""
    return any(one is row for one in turn.rows or ())


def cancel_of(row: MessageRow) -> TimerCancel:
    """What takes the pending timer of this row's name away. The row has a name."""
    assert row.name is not None, "a timer has a name"
    return TimerCancel(row.entity_type, row.entity_id, row.name)
