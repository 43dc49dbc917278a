"""The child process: runs handlers that use up a processor, one after another, for the runner that spawned it.

It is a fresh interpreter, never a fork. It finds a handler by its module and name, as `import` would. It dies with its
parent: on Linux the kernel sees to that, elsewhere (and there too) a thread sees the pipe close. What handlers print
goes to stderr, since stdout is the way back to the parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import os
import queue
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, BinaryIO, cast

from holdfast.errors import HandlerMissing, MalformedMessage
from holdfast.metrics import error_tag
from holdfast.ports.turn import current_turn

from .child_frames import Failure, Order, Progress, Result, Said, frame, order_of, read_body
from .child_turn import ChildTurn
from .definition import Job
from .execution import encoded
from .job_type import JobOptions, JobType
from .outcomes import Returned, Unencodable

PR_SET_PDEATHSIG = 1
CHILD_MAIN = "__holdfast_child__"
"""What `__main__` of the parent is called here, so that its `if __name__ == "__main__"` does not run."""


class Handlers:
    """Finds handlers, once each."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], JobType] = {}
        self._main: Any = None

    def of(self, order: Order) -> JobType:
        """Raises HandlerMissing for what can't be found."""
        name = (order.module, order.qualname)
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._find(order)
        return found

    def _find(self, order: Order) -> JobType:
        place = f"{order.module}:{order.qualname}"
        try:
            module = found = self._module(order)
            for part in order.qualname.split("."):
                found = getattr(found, part)
        except Exception as error:
            raise HandlerMissing(
                f"the handler of job type {order.job_type!r} can't be imported as {place} in a process of its own: "
                f"{type(error).__name__}: {error}"
            ) from error
        if isinstance(found, Job):
            return found.declared
        if callable(found):
            for value in cast("dict[str, object]", vars(module)).values():  # declared under another name
                if isinstance(value, Job) and value.declared.function is found:
                    return value.declared
            return JobType(found, JobOptions(name=order.job_type))
        raise HandlerMissing(f"{place} is no handler: it is {type(found).__name__}")

    def _module(self, order: Order) -> Any:
        if order.module != "__main__":
            return importlib.import_module(order.module)
        if self._main is None:
            self._main = _main_again(order)
        return self._main


def _main_again(order: Order) -> ModuleType:
    """The program that the parent runs, under another name."""
    module = ModuleType(CHILD_MAIN)
    sys.modules[CHILD_MAIN] = sys.modules["__main__"] = module
    if order.main_module:
        names = runpy.run_module(order.main_module, run_name=CHILD_MAIN, alter_sys=True)
    else:
        names = runpy.run_path(order.main_file, run_name=CHILD_MAIN)
    module.__dict__.update(names)
    return module


def carry_out(order: Order, handlers: Handlers, say: Callable[[Said], None]) -> Said:
    """Runs one attempt; how it ended. `say` takes what the handler reports meanwhile."""
    try:
        declared = handlers.of(order)
    except HandlerMissing as error:
        return _failure("find", error)
    try:
        arguments = declared.signature.decode(order.payload)
    except MalformedMessage as error:
        return _failure("decode", error)
    turn = ChildTurn(order.job, order.number, lambda value, text: say(Progress(value, text)))
    token = current_turn.set(turn)
    try:
        value = declared.call(arguments)
        if declared.is_async:
            value = asyncio.run(value)
    except Exception as error:
        return _failure("run", error, given_up=_given_up(declared, error))
    finally:
        turn.ended = True
        current_turn.reset(token)
    end = encoded(declared.signature.result, value, order.result_bytes_max)
    if isinstance(end, Unencodable):
        return _failure("encode", end.error)
    assert isinstance(end, Returned)
    return Result(end.result)


def _given_up(declared: JobType, error: Exception) -> bool:
    return isinstance(error, declared.give_up_on) or not isinstance(error, declared.retry_on)


def _failure(stage: str, error: Exception, *, given_up: bool = False) -> Failure:
    return Failure(stage, type(error).__name__, _text(error), error_tag(error), given_up)


def _text(error: Exception) -> str:
    try:
        return str(error).encode(errors="backslashreplace").decode()
    except Exception:
        return ""


def serve(inward: BinaryIO, outward: BinaryIO) -> None:
    """Runs what comes in until the pipe closes."""
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    writing = threading.Lock()

    def listen() -> None:
        while (body := read_body(inward)) is not None:
            orders.put(body)
        os._exit(0)  # the parent is gone, or wants us gone: whatever a handler is doing

    def say(message: Said) -> None:
        with writing:
            outward.write(frame(message))
            outward.flush()

    threading.Thread(target=listen, name="holdfast-parent", daemon=True).start()
    handlers = Handlers()
    while True:
        say(carry_out(order_of(orders.get()), handlers, say))


def main(parent: int, path: list[str]) -> None:
    """The child's program; `parent` is the process that spawned it, `path` where that one imports from."""
    die_with(parent)
    sys.path[:] = path
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # sent to the whole group; the parent decides when we end
    inward, outward = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):
        serve(inward, outward)


def die_with(parent: int) -> None:
    """Has the kernel end this process when its parent ends, where it can."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it ended before it could be watched
