"""Entities leave this runner: with their shard, for its next owner; all of them, when the runner stops.

First nothing new comes to them: who asks for one of them from now on asks elsewhere. What waits in their mailboxes is
given back; what is stored stays stored for the next owner. Handlers that run may end, those that do not in time are
cancelled, and all commits are waited for. Only then are the instances let go of, and only then may somebody else take
the shard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from .backlog import Backlog
from .delivery import Delivery
from .durable import DurableTurn
from .manager import EntityManager
from .parting import Parting
from .passivation import Passivation
from .running import TurnRunner
from .turns import Activation
from .units import Committer

logger = logging.getLogger("holdfast.entities")

LOOK_EVERY_S = 0.005
"""Seconds between two looks at who still works."""
INTERRUPTED_S = 5.0
"""Seconds that handlers get to end which were interrupted, and instances to say goodbye."""


class Departures:
    """Sees shards off; several may be leaving at a time, each at its own pace."""

    def __init__(
        self,
        *,
        manager: EntityManager,
        delivery: Delivery,
        backlog: Backlog,
        runner: TurnRunner,
        committer: Committer,
        passivation: Passivation,
    ) -> None:
        self._manager = manager
        self._delivery = delivery
        self._backlog = backlog
        self._runner = runner
        self._committer = committer
        self._passivation = passivation

    async def leave(self, shards: Collection[int], parting: Parting, *, timeout_s: float) -> None:
        """Returns once nothing of these shards runs here or is on its way to the store.

        A runner that stops may be giving some of them away already: each call waits for all there is.
        """
        shards = frozenset(shards)
        activations = self.gate(shards, parting)
        await self._end_handlers(activations, parting, timeout_s)
        await self._delivery.made_sure(shards)
        await self._committer.settled()
        self._delivery.part_with(shards, parting)
        await asyncio.gather(*[self._let_go(those, parting) for those in _by_shard(activations)])

    def gate(self, shards: Collection[int], parting: Parting) -> list[Activation]:
        """From here on nothing new comes to these shards; what waited is given back. Returns who may still work."""
        leaving = self._manager.shards.give(shards)
        self._backlog.forget(leaving)
        self._delivery.due.forget(leaving)
        activations = self._manager.gate(shards)
        for activation in activations:
            self._empty(activation, parting)
        return activations

    def _empty(self, activation: Activation, parting: Parting) -> None:
        waiting = [*(activation.held or ()), *(activation.waiting or ())]
        activation.held = activation.waiting = None
        activation.overflow = 0
        self._manager.mailboxes.leave(activation)
        for turn in waiting:
            if turn.abandoned:
                continue
            if isinstance(turn, DurableTurn):
                self._delivery.part_with_waiting(turn, parting)
            else:
                turn.refuse(parting.refused())
                turn.settle()

    async def _end_handlers(self, activations: list[Activation], parting: Parting, timeout_s: float) -> None:
        busy = await _still_busy(activations, timeout_s)
        if not busy:
            return
        among = set(busy)
        self._runner.interrupt(parting.unknown(), among)
        for activation in busy:
            self._manager.cancel_load(activation)
        for activation in await _still_busy(busy, INTERRUPTED_S):
            logger.error("a handler of %s does not end; nothing it may still do is written", activation.address)
            self._manager.disown(activation)

    async def _let_go(self, activations: list[Activation], parting: Parting) -> None:
        try:
            async with asyncio.timeout(INTERRUPTED_S):
                for activation in activations:
                    if self._manager.is_gone(activation):
                        continue
                    await self._close_streams(activation)
                    await self._passivation.deactivate(activation, parting.reason)
                    if not activation.dropped:  # it may be saying goodbye on behalf of another call
                        await _still_busy([activation], INTERRUPTED_S)
        except TimeoutError:
            logger.error("instances do not say goodbye in time; they are let go")
        for activation in activations:
            self._manager.release(activation, parting.reason)
            self._manager.mailboxes.leave(activation)

    async def _close_streams(self, activation: Activation) -> None:
        for stream in list(activation.streams or ()):
            try:
                await stream.close()
            except Exception:
                logger.exception("a stream of %s did not end cleanly", activation.address)


def _by_shard(activations: list[Activation]) -> Collection[list[Activation]]:
    found: dict[int, list[Activation]] = {}
    for activation in activations:
        found.setdefault(activation.shard, []).append(activation)
    return found.values()


async def _still_busy(activations: list[Activation], timeout_s: float) -> list[Activation]:
    """Those that are, once none is or so many seconds have passed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    while (busy := [activation for activation in activations if activation.busy]) and loop.time() < until:
        activations = busy
        await asyncio.sleep(LOOK_EVERY_S)
    return busy
