"""Lets idle instances go, a bounded number at a time."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from .manager import EntityManager
from .turns import WRITER, Activation

logger = logging.getLogger("holdfast.entities")

SCANNED_MAX = 2000
GOODBYE_S = 5.0
"""Seconds that an instance gets to say goodbye."""


class Passivation:
    """One turn looks at a slice of the live entities and lets go of those idle for longer than their type says.

    A whole round over N entities takes N / 2,000 turns; an instance thus outlives its time by at most one round.
    """

    def __init__(self, manager: EntityManager, now: Callable[[], float]) -> None:
        self._manager = manager
        self._now = now
        self._offset = 0

    async def turn(self) -> None:
        live = self._manager.live
        if self._offset >= len(live):
            self._offset = 0
        seen = list(itertools.islice(live.values(), self._offset, self._offset + SCANNED_MAX))
        now = self._now()
        idle = [activation for activation in seen if _expired(activation, now)]
        self._offset += len(seen) - len(idle)
        for activation in idle:
            await self.deactivate(activation, "idle")

    async def deactivate(self, activation: Activation, reason: str) -> None:
        """Ends an instance that nobody uses; messages that come meanwhile go to a fresh one."""
        if activation.instance is None or not (activation.idle or (activation.leaving and not activation.busy)):
            return
        activation.holders = WRITER
        try:
            async with asyncio.timeout(GOODBYE_S):
                await activation.instance.on_deactivate()
        except Exception:
            logger.exception("on_deactivate of %s raised; the instance is let go", activation.address)
        self._manager.release(activation, reason)
        activation.dropped = True
        activation.holders = 0
        self._manager.advance(activation)


def _expired(activation: Activation, now: float) -> bool:
    hosted = activation.hosted
    if hosted.type.keep_alive or not activation.idle or activation.instance is None:
        return False
    if activation.touched:
        activation.touched, activation.idle_since = False, now
        return False
    return now - activation.idle_since > hosted.idle_after
