"""Asking until there is an answer, as a user does who has a key: so what was heard is what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast.errors import HoldfastError, JobError, MessageError

from .plan import Step

R = TypeVar("R")

PATIENCE_S = 240.0
"""Virtual seconds after which a sender that still has no answer says so."""
AGAIN_S = 0.25


class NoAnswer(AssertionError):
    """Somebody who may expect an answer got none."""


async def answered(ask: Callable[[], Awaitable[R]]) -> R:
    """The same for what is asked when all is calm."""
    return await known(Step(0, 0.0, "question", (), 0), ask)


async def known(step: Step, ask: Callable[[], Awaitable[R]], *, but: type[HoldfastError] | None = None) -> R:
    """Asks again, with the same key, until there is an answer; `but` is one too. Raises NoAnswer."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_S
    while True:
        try:
            return await ask()
        except (MessageError, JobError) as error:
            if but is not None and isinstance(error, but):
                raise
            if loop.time() > until:
                raise NoAnswer(f"step {step.number}, a {step.kind}, got no answer: {error!r}") from error
            await asyncio.sleep(AGAIN_S)
