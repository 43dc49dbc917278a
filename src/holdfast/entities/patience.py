"""How long callers of this process wait for what goes on without them."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.errors import RunnerNotRegistered, RunnerUnavailable, SendTimeout

from .listeners import fail
from .surroundings import Surroundings
from .turns import Ending, HandlerTurn


class Patience:
    """Waits, until a deadline."""

    def __init__(self, around: Surroundings) -> None:
        self._loop = around.loop
        self._wheel = around.wheel

    async def settled(self, turn: HandlerTurn, timeout: float) -> None:
        """Waits for a turn that runs, or commits, in another task."""
        turn.waiter = self._loop.create_future()
        deadline = self._wheel.after(timeout, lambda: _give_up(turn, timeout))
        try:
            await turn.waiter
        except asyncio.CancelledError:
            turn.abandoned = True
            if turn.task is not None:
                turn.task.cancel()
            raise
        finally:
            deadline.cancel()
            turn.waiter = None
        if isinstance(turn.outcome, asyncio.CancelledError):
            raise turn.interrupted or RunnerUnavailable("this runner stopped the handler", executed="unknown")

    async def within(self, future: asyncio.Future[Any], timeout: float, name: str) -> Any:
        """The future's result, or SendTimeout: the message itself goes on."""
        deadline = self._wheel.after(timeout, lambda: _late(future, timeout, name))
        try:
            return await future
        finally:
            deadline.cancel()


def unanswered(turn: HandlerTurn) -> Any:
    """Why a volatile call has no answer: its own error, or that nobody knows whether the answer still counts."""
    if turn.ending is not Ending.VALUE:
        return turn.outcome
    return RunnerNotRegistered("this runner's lease has ended: others may own its entities by now", executed="unknown")


def _give_up(turn: HandlerTurn, timeout: float) -> None:
    """The caller's deadline, while the turn waits or commits elsewhere; a running handler has a deadline of its own."""
    if turn.waiter is None or turn.waiter.done() or turn.task is not None:
        return
    ran = turn.started_at > 0
    turn.abandoned = not ran
    turn.waiter.set_exception(
        SendTimeout(
            f"{turn.handler.signature.name} gave no reply within {timeout:g} s", executed="unknown" if ran else "no"
        )
    )


def _late(future: asyncio.Future[Any], timeout: float, name: str) -> None:
    fail(future, SendTimeout(f"{name} was not done within {timeout:g} s; it goes on, ask again with the same key"))
