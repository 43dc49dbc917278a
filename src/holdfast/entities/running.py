"""Runs turns: the handler in its own context, its deadline, and what its end means for state and effects.

A local caller of a free entity runs the handler in its own task, where the handler sees the caller's context variables
as in a plain await; only the current turn is put in place around each step. Everything else runs in a burst, one task
for all that is ready in one pass of the loop, each handler in a context of its own. A handler that suspends keeps the
burst's task, and the rest goes on in a new one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Container, Coroutine
from contextvars import Context, copy_context
from functools import partial
from time import perf_counter
from typing import Any

from holdfast.errors import HandlerFailed, MessageError, SendTimeout, SerializationError, UsageError
from holdfast.kit.eager import Rest, Step
from holdfast.ports.turn import current_turn

from .bursts import Bursts
from .declared import rebuilt
from .surroundings import Surroundings
from .threads import HandlerThreads
from .turns import WRITER, Activation, Ending, HandlerTurn
from .units import Committer

logger = logging.getLogger("holdfast.entities")


class TurnRunner:
    """Runs one turn at a time per entity, many entities at once."""

    def __init__(
        self,
        around: Surroundings,
        *,
        committer: Committer,
        threads: HandlerThreads,
        freed: Callable[[Activation], None],
    ) -> None:
        self._wheel = around.wheel
        self._committer = committer
        self._threads = threads
        self._freed = freed
        self._bursts: Bursts | None = None
        self._suspended: dict[HandlerTurn, None] = {}

    def interrupt(self, why: MessageError, among: Container[Activation] | None = None) -> None:
        """Ends the handlers that are waiting for something; all, or those of some entities."""
        for turn in list(self._suspended):
            if turn.task is None or not (among is None or turn.activation in among):
                continue
            turn.interrupted = why
            if self._bursts is not None and turn.task not in self._bursts.tasks:
                turn.expired = True  # its caller's task goes on
            turn.task.cancel()

    def serve_bursts(self, bursts: Bursts) -> None:
        """Which bursts give way when a handler suspends."""
        self._bursts = bursts

    def start(self, turn: HandlerTurn, context: Context | None = None) -> Coroutine[Any, Any, None] | None:
        """Runs a turn whose activation is held for it: to its end, or to where its handler first suspends.

        Returns the rest of the run, to be awaited, or None when the turn has ended. Never raises for what the handler
        does; a rest whose task is cancelled ends the turn as a failure and passes the cancellation on. `context`: the
        one this is called in, where it is not the waiting task's own.
        """
        activation, handler = turn.activation, turn.handler
        if not handler.is_async:
            return self._start_sync(turn)
        coroutine = handler.function(activation.instance, *turn.arguments)
        token = current_turn.set(turn)
        try:
            awaited = coroutine.send(None)
        except StopIteration as stop:
            value = stop.value
            if (
                activation.stateless
                and turn.rows is None
                and activation.open is None
                and activation.flying is None
                and type(value) in handler.passing
                and turn.plain
            ):
                self._end_plain(turn, value)
                return None
            self._returned(turn, value)
        except Exception as error:
            self._raised(turn, error)
        except asyncio.CancelledError as error:  # its own: nobody can have cancelled a task in the middle of a step
            self._raised(turn, OwnCancellation(error))
        except BaseException as error:
            self._cancelled(turn, error)
            raise
        else:
            return self._rest(turn, Rest(coroutine, awaited, _stepper(turn, context)))
        finally:
            current_turn.reset(token)
        return None if turn.transaction is None else self._end_with_transaction(turn)

    def _end_plain(self, turn: HandlerTurn, value: Any) -> None:
        """The end of what most volatile messages are: nothing to encode, nothing to write, nothing to wait for."""
        activation = turn.activation
        turn.outcome, turn.ending = value, Ending.VALUE
        turn.ended = turn.settled = activation.touched = True
        activation.holders = 0 if activation.holders == WRITER else activation.holders - 1
        if activation.waiting is not None:
            self._freed(activation)
        seconds = perf_counter() - turn.started_at
        turn.handler.observe(seconds)
        activation.hosted.received.succeeded(seconds)
        if turn.waiter is not None:
            turn.wake()

    def _start_sync(self, turn: HandlerTurn) -> Coroutine[Any, Any, None] | None:
        if turn.handler.options.executor == "thread":
            return self._rest(turn, self._in_thread(turn))
        try:
            value = _step(
                turn, lambda instance: turn.handler.function(instance, *turn.arguments), turn.activation.instance
            )
        except asyncio.CancelledError as error:
            self._raised(turn, OwnCancellation(error))
        except Exception as error:
            self._raised(turn, error)
        except BaseException as error:
            self._cancelled(turn, error)
            raise
        else:
            self._returned(turn, value)
        return None

    async def _rest(self, turn: HandlerTurn, rest: Awaitable[Any]) -> None:
        """Awaits what is left of a handler, under its deadline."""
        try:
            value = await self._in_time(turn, rest)
        except asyncio.CancelledError as error:
            self._cancelled(turn, error)
            if turn.transaction is not None:
                await asyncio.shield(self._end_with_transaction(turn))
            raise
        except Exception as error:
            self._raised(turn, error)
        else:
            self._returned(turn, value)
        if turn.transaction is not None:
            await asyncio.shield(self._end_with_transaction(turn))

    async def _in_time(self, turn: HandlerTurn, rest: Awaitable[Any]) -> Any:
        task = asyncio.current_task()
        assert task is not None
        turn.task = task
        turn.activation.suspended += 1
        self._suspended[turn] = None
        turn.suspended()
        turn.activation.store_waiting()
        if self._bursts is not None:
            self._bursts.give_way(task)
        cancelling = task.cancelling()
        deadline = self._wheel.after(turn.timeout, lambda: _expire(turn, task))
        try:
            value = await rest
        except asyncio.CancelledError as error:
            if turn.expired:
                if task.uncancel() <= cancelling:
                    raise _deadline_passed(turn) from None
            elif task.cancelling() <= cancelling:
                raise OwnCancellation(error) from None
            raise
        except BaseException:
            _take_back_expiry(turn, task)
            raise
        else:
            _take_back_expiry(turn, task)
            return value
        finally:
            deadline.cancel()
            turn.task = None
            self._suspended.pop(turn, None)
            turn.activation.suspended -= 1

    async def _in_thread(self, turn: HandlerTurn) -> Any:
        activation, function, context = turn.activation, turn.handler.function, copy_context()

        def call(instance: Any) -> Any:
            return function(instance, *turn.arguments)

        try:
            return await self._threads.run(context.run, _step, turn, call, activation.instance)
        except asyncio.CancelledError:
            # The thread can't be stopped and still holds the instance: nobody else may use that one again.
            activation.dropped = True
            raise

    def _returned(self, turn: HandlerTurn, value: Any) -> None:
        try:
            turn.outcome = value if type(value) in turn.handler.passing else turn.handler.signature.result.cross(value)
            turn.keep_reply()
        except SerializationError as error:
            turn.outcome = error
        else:
            turn.ending = Ending.VALUE
        if turn.transaction is None:
            self._end(turn)

    def _release(self, activation: Activation) -> None:
        activation.holders = 0 if activation.holders == WRITER else activation.holders - 1
        if activation.waiting or activation.dropped:
            self._freed(activation)

    def _cancelled(self, turn: HandlerTurn, error: BaseException) -> None:
        turn.outcome = error
        if turn.transaction is None:
            self._end(turn)

    def _raised(self, turn: HandlerTurn, error: Exception) -> None:
        if isinstance(error, turn.handler.options.errors):
            turn.ending, turn.outcome = Ending.DECLARED, rebuilt(turn.handler, error)
        elif isinstance(error, UsageError | SerializationError) or (
            turn.expired and (isinstance(error, SendTimeout) or error is turn.interrupted)
        ):
            turn.outcome = error
        else:
            turn.outcome = _undeclared(turn, error)
        if turn.transaction is None:
            self._end(turn)

    def _end(self, turn: HandlerTurn) -> None:
        """The handler has ended: what it did joins the entity's unit, or its reply is final at once."""
        activation = turn.activation
        activation.touched = True
        if turn.abandoned:
            turn.ending = Ending.FAILURE
        if not activation.stateless:
            self._capture_state(turn)
        turn.ended = True
        turn.conclude()
        turn.handler_seconds = seconds = perf_counter() - turn.started_at
        turn.handler.observe(seconds)
        traceless = turn.rows is None and turn.encoded is None and not activation.dropped
        if traceless and activation.open is None and activation.flying is None:
            turn.settle()
        else:
            self._committer.join(turn)
        self._release(activation)

    def _capture_state(self, turn: HandlerTurn) -> None:
        """Encodes what the handler changed, or takes it back; only for an entity with a state."""
        activation = turn.activation
        instance, codec = activation.instance, activation.hosted.type.state_codec
        assert instance is not None and codec is not None
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
        if not activation.stateless:
            self._capture_state(turn)
        turn.ended = True
        turn.conclude()
        counts = turn.ending is Ending.VALUE and not activation.dropped
        try:
            if counts:
                await transaction.commit(self._committer.unit_of(turn))
            else:
                await transaction.rollback()
        except Exception as error:
            activation.holders = 0
            self._committer.failed(turn, error)
            return
        if counts:
            self._committer.known(turn)
        elif turn.rows is not None or turn.ending is Ending.VALUE:
            self._committer.join(turn)
        else:
            turn.settle()
        activation.holders = 0
        if activation.waiting or activation.dropped:
            self._freed(activation)


def _step(turn: HandlerTurn, advance: Callable[[Any], Any], passed: Any) -> Any:
    """One step of a handler, with its turn as the current one."""
    token = current_turn.set(turn)
    try:
        return advance(passed)
    finally:
        current_turn.reset(token)


def _stepper(turn: HandlerTurn, context: Context | None) -> Step:
    step = partial(_step, turn)
    return step if context is None else lambda advance, passed: context.run(step, advance, passed)


class OwnCancellation(Exception):
    """The handler ended with a CancelledError that nobody asked for: it waited for something that was cancelled."""

    def __init__(self, cause: asyncio.CancelledError) -> None:
        super().__init__()
        self.cause = cause


def _take_back_expiry(turn: HandlerTurn, task: asyncio.Task[Any]) -> None:
    """The handler ended in its own way although its time was up; whoever runs it has not been cancelled."""
    if turn.expired:
        task.uncancel()


def _expire(turn: HandlerTurn, task: asyncio.Task[Any]) -> None:
    turn.expired = True
    task.cancel()


def _deadline_passed(turn: HandlerTurn) -> MessageError:
    if turn.interrupted is not None:
        return turn.interrupted
    # Its state is taken back, but not what it did elsewhere, nor what its thread goes on doing.
    return SendTimeout(f"{turn.handler.signature.name} took longer than {turn.timeout:g} s and was cancelled")


def _undeclared(turn: HandlerTurn, raised: Exception) -> HandlerFailed:
    """Says what kind of error it was; the rest stays in this process."""
    error = raised.cause if isinstance(raised, OwnCancellation) else raised
    incident = secrets.token_hex(4)
    name = turn.handler.signature.name
    logger.warning("%s failed on %s [%s]", name, turn.activation.address, incident, exc_info=error)
    turn.activation.hosted.metrics.errors.record(error)
    kind = type(error).__name__
    failed = HandlerFailed(f"{name} raised {kind} [{incident}]", error_type=kind, incident=incident)
    failed.__cause__ = error
    return failed
