"""Runs turns: the handler in its own context, its deadline, and what its end means for state and effects.

A local caller of a free entity runs the handler in its own task; everything else runs in a burst, one task for all that
is ready in one pass of the loop. A handler that suspends keeps the burst's task, and the rest goes on in a new one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from time import perf_counter
from typing import Any

from holdfast.errors import HandlerFailed, SendTimeout, SerializationError, UsageError
from holdfast.kit.deadlines import DeadlineWheel

from .stepping import Suspended, call, first_step
from .threads import HandlerThreads
from .turns import WRITER, Activation, Ending, HandlerTurn
from .units import Committer

logger = logging.getLogger("holdfast.entities")


class TurnRunner:
    """Runs one turn at a time per entity, many entities at once."""

    def __init__(
        self,
        *,
        committer: Committer,
        wheel: DeadlineWheel,
        threads: HandlerThreads,
        freed: Callable[[Activation], None],
    ) -> None:
        self._committer = committer
        self._wheel = wheel
        self._threads = threads
        self._freed = freed
        self._bursts: Bursts | None = None

    def serve_bursts(self, bursts: Bursts) -> None:
        """Which bursts give way when a handler suspends."""
        self._bursts = bursts

    async def run(self, turn: HandlerTurn) -> None:
        """Runs the handler of a turn whose activation is held for it.

        Never raises for what the handler does. A cancelled task ends the turn as a failure and passes the
        cancellation on.
        """
        activation, handler = turn.activation, turn.handler
        turn.started_at = perf_counter()
        try:
            if handler.is_async:
                coroutine = handler.function(activation.instance, *turn.arguments)
                context = copy_context()
                try:
                    awaited = context.run(first_step, turn, coroutine)
                except StopIteration as stop:
                    value = stop.value
                else:
                    value = await self._suspended(turn, Suspended(coroutine, context, awaited))
            elif handler.options.executor == "thread":
                value = await self._in_thread(turn)
            else:
                value = copy_context().run(call, turn, handler.function, activation.instance, turn.arguments)
            turn.outcome = handler.signature.result.cross(value)
            turn.ending = Ending.VALUE
        except asyncio.CancelledError as error:
            turn.outcome = error
            await self._finish(turn)
            raise
        except Exception as error:
            self._raised(turn, error)
        if turn.transaction is None:
            self._end(turn)
        else:
            await self._finish(turn)

    async def _finish(self, turn: HandlerTurn) -> None:
        """Ends the turn, its own transaction included, whatever happens to the task meanwhile."""
        if turn.transaction is None:
            self._end(turn)
        else:
            await asyncio.shield(self._end_with_transaction(turn))

    async def _suspended(self, turn: HandlerTurn, rest: Any) -> Any:
        """Awaits the rest of a handler under its deadline."""
        task = asyncio.current_task()
        assert task is not None
        turn.task = task
        turn.activation.suspended += 1
        turn.suspended()
        if self._bursts is not None:
            self._bursts.give_way(task)
        cancelling = task.cancelling()
        deadline = self._wheel.after(turn.timeout, lambda: _expire(turn, task))
        try:
            return await rest
        except asyncio.CancelledError:
            if turn.expired and task.uncancel() <= cancelling:
                raise _deadline_passed(turn) from None
            raise
        finally:
            deadline.cancel()
            turn.task = None
            turn.activation.suspended -= 1

    async def _in_thread(self, turn: HandlerTurn) -> Any:
        context = copy_context()
        activation, handler = turn.activation, turn.handler
        work = self._threads.run(context.run, call, turn, handler.function, activation.instance, turn.arguments)
        try:
            return await self._suspended(turn, work)
        except (SendTimeout, asyncio.CancelledError):
            # The thread can't be stopped and still holds the instance: nobody else may use that one again.
            activation.dropped = True
            raise

    def _raised(self, turn: HandlerTurn, error: Exception) -> None:
        if isinstance(error, turn.handler.options.errors):
            turn.ending, turn.outcome = Ending.DECLARED, error
        elif isinstance(error, UsageError | SerializationError) or (isinstance(error, SendTimeout) and turn.expired):
            turn.outcome = error
        else:
            turn.outcome = _undeclared(turn, error)

    def _end(self, turn: HandlerTurn) -> None:
        """The handler has ended: what it did joins the entity's unit, or its reply is final at once."""
        activation = turn.activation
        activation.touched = True
        self._capture_state(turn)
        turn.ended = True
        turn.conclude()
        seconds = perf_counter() - turn.started_at
        activation.hosted.handler_seconds[turn.handler.name].observe(seconds)
        if turn.rows is None and turn.encoded is None and activation.open is None and activation.flying is None:
            turn.settle()
        else:
            self._committer.join(turn)
        self._release(activation)

    def _release(self, activation: Activation) -> None:
        activation.holders = 0 if activation.holders == WRITER else activation.holders - 1
        if activation.waiting or activation.dropped:
            self._freed(activation)

    def _capture_state(self, turn: HandlerTurn) -> None:
        """Encodes what the handler changed, or takes it back."""
        activation, codec = turn.activation, turn.activation.hosted.type.state_codec
        if codec is None:
            return
        instance = activation.instance
        assert instance is not None
        if turn.ending is Ending.VALUE:
            try:
                encoded = codec.encode(instance.state)
            except SerializationError as error:
                turn.ending, turn.outcome = Ending.FAILURE, error
            else:
                if encoded == activation.encoded:
                    return
                if turn.handler.writes:
                    turn.encoded = activation.encoded = encoded
                    return
                turn.ending = Ending.FAILURE
                turn.outcome = UsageError(f"{turn.handler.signature.name} is readonly but changed the state")
        assert activation.encoded is not None
        instance.state = codec.decode(activation.encoded)

    async def _end_with_transaction(self, turn: HandlerTurn) -> None:
        """The handler wrote through a transaction of its own: its effects commit there, outside the group."""
        transaction, activation = turn.transaction, turn.activation
        assert transaction is not None
        self._capture_state(turn)
        turn.ended = True
        turn.conclude()
        try:
            if turn.ending is Ending.VALUE:
                await transaction.commit(self._committer.unit_of(turn))
            else:
                await transaction.rollback()
        except Exception as error:
            activation.holders = 0
            self._committer.failed(turn, error)
            return
        if turn.ending is Ending.VALUE:
            self._committer.known(turn)
        elif turn.rows is not None:
            self._committer.join(turn)
        else:
            turn.settle()
        self._release(activation)


class Bursts:
    """Runs ready turns in as few tasks as possible."""

    def __init__(self, run: Callable[[HandlerTurn], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._loop = loop
        self._ready: deque[HandlerTurn] = deque()
        self._serving: asyncio.Task[None] | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def add(self, turn: HandlerTurn) -> None:
        """Runs the turn, whose activation is held for it, in a burst."""
        self._ready.append(turn)
        if self._serving is None:
            self._serve()

    def give_way(self, task: asyncio.Task[Any]) -> None:
        """A handler suspends in this task: what else is ready goes on elsewhere."""
        if task is self._serving:
            self._serving = None
            if self._ready:
                self._serve()

    def _serve(self) -> None:
        task = self._loop.create_task(self._burst(), name="holdfast-burst")
        self._serving = task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _burst(self) -> None:
        me = asyncio.current_task()
        try:
            while self._ready and self._serving is me:
                turn = self._ready.popleft()
                turn.starting()
                try:
                    await self._run(turn)
                except asyncio.CancelledError:
                    if not turn.ended or me is None:
                        raise
                    me.uncancel()
        finally:
            if self._serving is me:
                self._serving = None
                if self._ready:
                    self._serve()


def _expire(turn: HandlerTurn, task: asyncio.Task[Any]) -> None:
    turn.expired = True
    task.cancel()


def _deadline_passed(turn: HandlerTurn) -> SendTimeout:
    return SendTimeout(
        f"{turn.handler.signature.name} took longer than {turn.timeout:g} s and was cancelled", executed="no"
    )


def _undeclared(turn: HandlerTurn, error: Exception) -> HandlerFailed:
    """Says what kind of error it was; the rest stays in this process."""
    incident = secrets.token_hex(4)
    name = turn.handler.signature.name
    logger.warning("%s failed on %s [%s]", name, turn.activation.address, incident, exc_info=error)
    kind = type(error).__name__
    failed = HandlerFailed(f"{name} raised {kind} [{incident}]", error_type=kind, incident=incident)
    failed.__cause__ = error
    return failed
