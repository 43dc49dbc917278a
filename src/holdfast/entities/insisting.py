"""Reads that nobody repeats: made again until the store answers.

A caller hears that the store is away and decides. Where the engine itself needs to know something before messages can
go on, giving up would leave them lying until their shard moves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast.errors import PersistenceError

R = TypeVar("R")

AGAIN_S = 0.2

logger = logging.getLogger("holdfast.entities")


async def until_answered(ask: Callable[[], Awaitable[R]]) -> R:
    """What `ask` returns, sooner or later. Whoever starts this cancels it when the answer is of no use any more."""
    while True:
        try:
            return await ask()
        except PersistenceError as error:
            logger.warning("the store did not answer and is asked again: %s", error)
            await asyncio.sleep(AGAIN_S)
