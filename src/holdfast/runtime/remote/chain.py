"""Who waits for a call that leaves this process: so that a circle of calls over several runners is seen."""

from __future__ import annotations

from time import perf_counter

from holdfast.entities.turns import HandlerTurn
from holdfast.errors import CallCircle
from holdfast.model.address import Address
from holdfast.model.envelope import CHAIN_MAX
from holdfast.ports.turn import Turn


def chain_of(caller: Turn | None) -> tuple[Address, ...]:
    """The entities whose handlers wait for what this one asks, itself first. Raises CallCircle where it is too long."""
    found: list[Address] = []
    while isinstance(caller, HandlerTurn):
        if not caller.ended:
            found.append(caller.activation.address)
            found.extend(caller.chain)
        caller = caller.caller
    if len(found) > CHAIN_MAX:
        raise CallCircle(f"{found[0]} would be the {len(found)}th handler in a row that waits for the next")
    return tuple(found)


def time_left_s(caller: Turn | None, timeout_s: float) -> float:
    """The timeout of a call, at most what its caller has left itself."""
    if not isinstance(caller, HandlerTurn) or not caller.started_at:
        return timeout_s
    return min(timeout_s, max(0.001, caller.timeout - (perf_counter() - caller.started_at)))
