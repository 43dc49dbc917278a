"""Running attempts on the event loop: long-lived slots that take one started attempt after the other.

A slot runs attempts back to back as long as they never wait. The first time a handler waits, its deadline is armed and
another slot takes what has been started; so a batch of short handlers costs one wake-up, and a long one holds up
nobody. A cancel, a timeout or a drain cancels the slot's task where the handler waits; the cancellation ends the
attempt, never the slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, assert_never, cast

from holdfast.errors import MalformedMessage, SerializationError
from holdfast.kit.eager import Rest, Step
from holdfast.model.signature import ValueCodec
from holdfast.ports.turn import current_turn

from .attempt import Attempt, Interruption
from .outcomes import AttemptEnd, GivenBack, Interrupted, Raised, Returned, TimedOut, Undecodable, Unencodable
from .surroundings import Surroundings

Ended = Callable[[Attempt, AttemptEnd], None]


class LoopSlots:
    """The slots of the event loop."""

    def __init__(
        self,
        around: Surroundings,
        *,
        ended: Ended,
        freed: Callable[[Attempt], None],
        start_task: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        context: Context,
    ) -> None:
        """`ended` hears of every attempt once, `freed` each time its slot has nothing to run any more.

        Handlers start from a copy of `context`.
        """
        self._slots = around.settings.slots
        self._wheel = around.wheel
        self._clock = around.clock
        self._ended = ended
        self._freed = freed
        self._start_task = start_task
        self._context = context
        self._result_bytes_max = around.settings.payload_bytes_max
        self._started: deque[Attempt] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._tasks = 0
        self._closing = False

    def run(self, attempt: Attempt) -> None:
        """Takes an attempt whose start record is on disk; there are never more than there are slots."""
        self._started.append(attempt)
        if len(self._started) == 1:
            self._call_slot()

    def close(self) -> None:
        """From here on a slot that is cancelled ends, and its attempt has no end."""
        self._closing = True

    def _call_slot(self) -> None:
        while self._idle:
            future = self._idle.pop()
            if not future.done():
                future.set_result(None)
                return
        if self._tasks < self._slots:
            self._tasks += 1
            # In the engine's context: this may be called from within a handler's.
            self._context.run(self._start_task, self._serve(), f"slot {self._tasks}")

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._started:
                attempt = self._started.popleft()
                rest = self._begin(attempt)
                serves_on = rest is None or await self._finish(attempt, rest)
                self._freed(attempt)
                if not serves_on:
                    self._tasks -= 1
                    return
            idle: asyncio.Future[None] = loop.create_future()
            self._idle.append(idle)
            await idle

    def _begin(self, attempt: Attempt) -> Rest[Any] | None:
        """Runs the handler until it waits for the first time; None when the attempt has ended."""
        if attempt.why is not None:
            self._ended(attempt, interruption_end(attempt))
            return None
        declared = attempt.held.declared
        attempt.began = self._clock.monotonic()
        try:
            arguments = declared.signature.decode(attempt.held.row.payload)
        except MalformedMessage as error:
            self._ended(attempt, Undecodable(error))
            return None
        context = self._context.copy()
        try:
            if not declared.is_async:
                value = context.run(enter, attempt, declared.call, arguments)
            else:
                coroutine = declared.call(arguments)
                return Rest(coroutine, context.run(enter, attempt, coroutine.send, None), cast("Step", context.run))
        except StopIteration as end:
            value = end.value
        except (Exception, asyncio.CancelledError) as error:
            self._over(attempt, Raised(error))
            return None
        self._over(attempt, self._returned(attempt, value))
        return None

    async def _finish(self, attempt: Attempt, rest: Rest[Any]) -> bool:
        """Waits with the handler until it ends; False where it had its own task, the slot's, cancelled.

        Such a slot ends and another takes its place: the cancel may have come from a loop that is shutting down, which
        waits for the tasks it cancelled.
        """
        task = asyncio.current_task()
        assert task is not None
        if self._started:
            self._call_slot()
        attempt.stop = task.cancel
        deadline = self._wheel.after(
            attempt.held.row.timeout_us / 1e6, partial(attempt.interrupt, Interruption.TIMEOUT)
        )
        try:
            end: AttemptEnd = self._returned(attempt, await rest)
        except asyncio.CancelledError as error:
            if self._closing:
                raise  # the start record says what was under way
            end = Raised(error) if attempt.why is None else interruption_end(attempt)
        except Exception as error:
            end = Raised(error) if attempt.why is None else interruption_end(attempt)
        finally:
            attempt.stop = None
            deadline.cancel()
        cancelled_itself = attempt.why is None and task.cancelling() > 0
        while task.cancelling():
            task.uncancel()
        self._over(attempt, end)
        return not cancelled_itself

    def _over(self, attempt: Attempt, end: AttemptEnd) -> None:
        attempt.seconds = self._clock.monotonic() - attempt.began
        self._ended(attempt, end)

    def _returned(self, attempt: Attempt, value: Any) -> AttemptEnd:
        return encoded(attempt.held.declared.signature.result, value, self._result_bytes_max)


def enter(attempt: Attempt, act: Callable[[Any], Any], argument: Any) -> Any:
    """To be run in the attempt's own context: from here on doors join the attempt."""
    current_turn.set(attempt)
    return act(argument)


def encoded(codec: ValueCodec, value: Any, bytes_max: int) -> AttemptEnd:
    """What a handler returned, as it is stored; None needs no bytes."""
    if value is None:
        return Returned(None)
    try:
        result = codec.encode(value)
    except SerializationError as error:
        return Unencodable(error)
    if len(result) > bytes_max:
        return Unencodable(SerializationError(f"{codec.where}: {len(result)} bytes are more than {bytes_max}"))
    return Returned(result)


def interruption_end(attempt: Attempt) -> AttemptEnd:
    """How an attempt ends that was interrupted."""
    match attempt.why:
        case Interruption.CANCEL:
            return Interrupted()
        case Interruption.TIMEOUT:
            return TimedOut(attempt.held.row.timeout_us)
        case Interruption.DRAIN:
            return GivenBack()
        case None:
            raise AssertionError("nobody interrupted this attempt")
        case _:
            assert_never(attempt.why)
