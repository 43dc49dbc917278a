"""Running attempts of sync handlers in threads.

A thread can't be interrupted. When its attempt runs out of time or is given back, the attempt ends at once in the
books, and the slot stays busy until the thread has returned; what it returns then is nobody's. A cancel is passed on
as a flag that the handler may look at: if it then raises, the job is cancelled; if it returns, the job is completed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from functools import partial

from holdfast.errors import MalformedMessage
from holdfast.kit.deadlines import Deadline

from .attempt import Attempt, Interruption
from .execution import Ended, encoded, enter, interruption_end
from .outcomes import AttemptEnd, Raised, Undecodable
from .surroundings import Surroundings


class ThreadSlots:
    """The slots of sync handlers."""

    def __init__(
        self,
        around: Surroundings,
        *,
        ended: Ended,
        freed: Callable[[Attempt], None],
        context: Context,
    ) -> None:
        self._pool = ThreadPoolExecutor(max_workers=around.settings.thread_slots, thread_name_prefix="holdfast-job")
        self._wheel = around.wheel
        self._clock = around.clock
        self._ended = ended
        self._freed = freed
        self._context = context
        self._result_bytes_max = around.settings.payload_bytes_max
        workers = around.metrics.workers
        self._active = workers.active.labels(pool="thread")
        self._completions = workers.completions.labels(pool="thread")
        self._duration = workers.duration.labels(pool="thread")
        self._timeouts = workers.timeouts.labels(pool="thread")

    def run(self, attempt: Attempt) -> None:
        """Takes an attempt whose start record is on disk; there are never more than there are slots."""
        if attempt.why is not None:
            self._ended(attempt, interruption_end(attempt))
            self._freed(attempt)
            return
        attempt.began = self._clock.monotonic()
        self._active.inc()
        deadline = self._wheel.after(attempt.held.row.timeout_us / 1e6, partial(self._time_out, attempt))
        running = asyncio.get_running_loop().run_in_executor(self._pool, self._work, attempt)
        running.add_done_callback(partial(self._returned, attempt, deadline))

    def close(self) -> None:
        """Takes no more; threads that are in a handler end when it does."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, attempt: Attempt) -> AttemptEnd:
        """In the thread: everything that may take long, decoding and encoding included."""
        declared = attempt.held.declared
        try:
            arguments = declared.signature.decode(attempt.held.row.payload)
        except MalformedMessage as error:
            return Undecodable(error)
        try:
            value = self._context.copy().run(enter, attempt, declared.call, arguments)
        except Exception as error:
            return Raised(error)
        return encoded(declared.signature.result, value, self._result_bytes_max)

    def _returned(self, attempt: Attempt, deadline: Deadline, running: asyncio.Future[AttemptEnd]) -> None:
        deadline.cancel()
        seconds = self._clock.monotonic() - attempt.began
        self._active.dec()
        self._completions.inc()
        self._duration.observe(seconds)
        if not attempt.ended and not running.cancelled():
            attempt.seconds = seconds
            self._ended(attempt, self._end_of(attempt, running))
        self._freed(attempt)

    def _end_of(self, attempt: Attempt, running: asyncio.Future[AttemptEnd]) -> AttemptEnd:
        error = running.exception()
        if error is not None:  # of the pool itself, or what no handler should raise (SystemExit)
            return Raised(error)
        end = running.result()
        return interruption_end(attempt) if attempt.why is not None and isinstance(end, Raised) else end

    def _time_out(self, attempt: Attempt) -> None:
        if attempt.ended:
            return
        attempt.interrupt(Interruption.TIMEOUT)
        attempt.seconds = self._clock.monotonic() - attempt.began
        self._timeouts.inc()
        self._ended(attempt, interruption_end(attempt))
