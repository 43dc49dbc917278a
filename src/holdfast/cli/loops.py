"""Which event loop a command runs on, and running on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from holdfast.errors import ConfigurationError

T = TypeVar("T")
LoopName = Literal["uvloop", "asyncio"]


def run_on(loop: LoopName, main: Coroutine[Any, Any, T]) -> T:
    """Runs to the end on a fresh loop. Raises ConfigurationError where uvloop is asked for and not installed."""
    try:
        factory = loop_factory(loop)
    except ConfigurationError:
        main.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def loop_factory(loop: LoopName) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        raise ConfigurationError("uvloop is not installed here; use --loop asyncio") from None
    return uvloop.new_event_loop
