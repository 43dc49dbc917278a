"""Where a process of the rig stands: its threads, and what each task of its event loop waits in."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Iterator
from typing import Any

ON = signal.SIGUSR1
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


def tell_stacks(loop: asyncio.AbstractEventLoop) -> None:
    """On SIGUSR1 this process writes them to its standard error: the threads even where the loop is blocked."""
    loop.add_signal_handler(ON, _tell_tasks, loop)
    faulthandler.register(ON, chain=True)


def _tell_tasks(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        print(f"Task {task.get_name()}:", *_stack(task.get_coro()), sep="\n  ", file=sys.stderr, flush=True)


def _stack(waits: Any) -> Iterator[str]:
    """From the outermost call to what it waits for."""
    while waits is not None:
        frame = _first(waits, _FRAMES)
        if frame is None:
            yield repr(waits)
        else:
            yield f'File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'
        waits = _first(waits, _AWAITED)


def _first(waits: Any, names: tuple[str, ...]) -> Any:
    return next((found for name in names if (found := getattr(waits, name, None)) is not None), None)
