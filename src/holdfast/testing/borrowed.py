"""Makes the time of a running event loop virtual for a while: the loop that a test framework made.

Only asyncio's own selector loops can be borrowed, because they ask themselves what time it is. While one is borrowed,
`loop.time`, `asyncio.sleep`, `asyncio.timeout` and everything built on them are virtual, the test's own included.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from holdfast.errors import UsageError

from .loop import STALL_LIMIT_S, Stalled, VirtualLoop, whereabouts
from .stopwatches import stopwatches
from .time import Events, VirtualTime, Wait, WatchedSelector


@contextmanager
def virtual_time(loop: asyncio.AbstractEventLoop) -> Generator[VirtualTime]:
    """The virtual time of the running loop, for as long as the block runs; a virtual loop's is its own.

    Raises UsageError for a loop that can't be borrowed (uvloop, Windows' proactor loop).
    """
    if isinstance(loop, VirtualLoop):
        with stopwatches(loop.time):
            yield loop.virtual_time
        return
    selector = getattr(loop, "_selector", None)
    if not isinstance(loop, asyncio.SelectorEventLoop) or selector is None:
        raise UsageError(
            f"tests need an event loop whose time can be moved: asyncio.SelectorEventLoop, not {type(loop).__name__}"
        )
    time = VirtualTime(
        # A whole second, so that what is due at round times lies on the ticks of coarse timers.
        float(math.ceil(loop.time())),
        passes=True,
        stalled=lambda: Stalled(f"nothing can go on; waiting: {whereabouts(loop)}"),
        stall_limit_s=STALL_LIMIT_S,
    )
    with _borrowed(loop, time, selector), stopwatches(time.now):
        yield time


@contextmanager
def _borrowed(loop: asyncio.SelectorEventLoop, time: VirtualTime, selector: Any) -> Generator[None]:
    run_really = loop.run_in_executor

    def run_in_executor(executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = run_really(executor, func, *args)
        time.went_out()
        future.add_done_callback(time.came_back)
        return future

    def begin_pass(wait: Wait, timeout: float | None) -> Events:
        idle = timeout is None or timeout > 0
        events = time.sleep(wait, timeout, sockets=watched.watches_sockets) if idle else wait(0)
        time.sift()
        return events

    watched = WatchedSelector(selector, begin_pass)
    replaced = {"time": time.now, "run_in_executor": run_in_executor, "_selector": watched}
    for name, value in replaced.items():
        setattr(loop, name, value)
    try:
        yield
    finally:
        loop._selector = selector  # type: ignore[attr-defined]
        del loop.time, loop.run_in_executor
