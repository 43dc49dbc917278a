"""Measuring an operation from outside: a decorator, a `with`, or a wrap around an awaitable.

A tracker times what it is put around and tells a meter how it ended. Result and error pass through unchanged. A
cancellation is no error: it counts as its own outcome and passes on. A tracker may be used again, and as a decorator
or around awaitables any number of times at once; as a `with` it is one block at a time, because the block's start
and its `accepted` live in it.
"""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelledError
from functools import wraps
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from threading import get_ident
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast, overload

from .instruments import Counter, Histogram
from .label import Labels, error_tag
from .meters import Meter
from .series import Ledger
from .spec import Outcome

P = ParamSpec("P")
R = TypeVar("R")

_CANCELLED = (CancelledError, FutureCancelledError, GeneratorExit)


class Tracker:
    """Times operations and tells a meter about them. The meter is asked for in the thread that ends an operation."""

    __slots__ = ("_accepted", "_clock", "_counts_accepted", "_meter", "_started")

    def __init__(
        self, meter: Callable[[], Meter], clock: Callable[[], float], *, counts_accepted: bool = False
    ) -> None:
        self._meter = meter
        self._clock = clock
        self._counts_accepted = counts_accepted
        self._started: float | None = None
        self._accepted = 1

    @overload
    def __call__(self, awaitable: Awaitable[R], /) -> Coroutine[Any, Any, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...
    def __call__(self, subject: Any, /) -> Any:
        if isawaitable(subject):
            return self._around(subject)
        if not callable(subject):
            raise TypeError(f"a tracker goes around a function or an awaitable, not {type(subject).__name__}")
        if iscoroutinefunction(subject) or iscoroutinefunction(getattr(subject, "__call__", None)):  # noqa: B004
            return self._around_async(cast("Callable[..., Awaitable[Any]]", subject))
        return self._around_sync(cast("Callable[..., Any]", subject))

    def __enter__(self) -> "Tracker":
        if self._started is not None:
            raise RuntimeError("this tracker is around a block already; make one per block")
        self._accepted = 1
        self._started = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        started, self._started = self._started, None
        assert started is not None, "__exit__ without __enter__"
        self._ended(started, error, self._accepted)

    def accepted(self, count: int, /) -> None:
        """So many jobs came of this block: N for a batch, none for a duplicate. Only for submits (ValueError)."""
        if not self._counts_accepted:
            raise ValueError("only a submit accepts jobs")
        if count < 0:
            raise ValueError(f"accepted {count} jobs?")
        self._accepted = count

    async def _around(self, awaitable: Awaitable[R]) -> R:
        started = self._clock()
        try:
            result = await awaitable
        except BaseException as error:
            self._ended(started, error)
            raise
        self._ended(started, None)
        return result

    def _around_async(self, fn: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @wraps(fn)
        async def tracked(*args: P.args, **kwargs: P.kwargs) -> R:
            return await self._around(fn(*args, **kwargs))

        return tracked

    def _around_sync(self, fn: Callable[P, R]) -> Callable[P, R]:
        @wraps(fn)
        def tracked(*args: P.args, **kwargs: P.kwargs) -> R:
            started = self._clock()
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                self._ended(started, error)
                raise
            if iscoroutine(result):  # a plain function that hands out a coroutine: its work is still to come
                return cast("R", self._around(result))
            self._ended(started, None)
            return result

        return tracked

    def _ended(self, started: float, error: BaseException | None, accepted: int = 1) -> None:
        seconds = self._clock() - started
        meter = self._meter()
        if error is None:
            meter.ended_well(seconds, accepted)
        elif isinstance(error, _CANCELLED):
            meter.cancelled(seconds)
        else:
            meter.failed(seconds, error)


def remembered(meter: Callable[[], Meter], ledger: Ledger) -> Callable[[], Meter]:
    """The same meter again for the owner, and another one for all other threads."""
    meters: dict[int, Meter] = {}

    def meter_here() -> Meter:
        owner = ledger.owner
        key = owner if owner == get_ident() else 0  # no thread has the identity 0
        found = meters.get(key)
        if found is None:
            found = meters[key] = meter()
        return found

    return meter_here


class EffectMeter:
    """Durations and errors of anything, in the instruments given; each gets those of the labels that it has.

    An instrument with a label `outcome` learns the outcome by it, an error counter with a label `type` or `reason`
    the error's.
    """

    __slots__ = ("_duration", "_errors", "_labels")

    def __init__(self, duration: Histogram | None, errors: Counter | None, labels: Labels) -> None:
        self._duration = duration
        self._errors = errors
        self._labels = dict(labels)

    def ended_well(self, seconds: float, _accepted: int, /) -> None:
        """It succeeded."""
        self._observe(seconds, Outcome.OK)

    def failed(self, seconds: float, error: BaseException, /) -> None:
        """It raised."""
        self._observe(seconds, Outcome.ERROR)
        if self._errors is not None:
            tag = error_tag(error)
            self._errors.at(self._fitting(self._errors, {"type": tag, "reason": tag, "outcome": "error"})).inc()

    def cancelled(self, seconds: float, /) -> None:
        """It was cancelled."""
        self._observe(seconds, Outcome.CANCELLED)

    def _observe(self, seconds: float, outcome: Outcome) -> None:
        if self._duration is not None:
            self._duration.at(self._fitting(self._duration, {"outcome": outcome.value})).observe(seconds)

    def _fitting(self, instrument: Counter | Histogram, found: dict[str, str]) -> dict[str, str]:
        pairs = {**found, **self._labels}
        return {name: pairs[name] for name in instrument.spec.labels if name in pairs}
