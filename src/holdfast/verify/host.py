"""A runner process of the rig: `python -m holdfast.verify.host CONFIG`.

It does what `holdfast run` does, and what the rig tells it over standard input, a line each: say its counters or its
clock, block its event loop, take all memory, wait in a transaction. It drains on SIGTERM, and writes where it
stands to its log on SIGUSR1.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec

from holdfast.ports.journal import Transaction
from holdfast.runtime.app import App
from holdfast.runtime.node import Node
from holdfast.runtime.runner import Runner

from .history import Recorder, now
from .parent import end_with_parent
from .scrapes import COUNTED
from .stacks import tell_stacks
from .stalls import note_stalls
from .subject import diaries, in_transaction, make_app

HELD_S = 0.5
"""Seconds that a transaction waits to be frozen."""


MOUTHFUL = 16 * 1024


class HostConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the rig tells a runner."""

    name: str
    parent: int
    """The process that has started it, with which it ends."""
    folder: str
    """Where its diary goes."""
    store: str
    listen: str | None
    advertise: str | None
    lease_ttl_s: float
    drain_timeout_s: float


class Command(msgspec.Struct, frozen=True):
    """`counters`, `clock`, `block` or `starve` for some seconds, or `hold` a transaction open."""

    what: str
    seconds: float = 0.0


class Said(msgspec.Struct, frozen=True):
    """What a runner says: `serving`, `holding`, `counters`, `clock`, `blocked` or `drained`."""

    what: str
    runner_id: int = 0
    seconds: float = 0.0
    """For how long it was blocked; or since the epoch, by its clock."""
    session: int = 0
    """Which of the store's has the transaction that is held."""
    counters: list[tuple[str, dict[str, str], float]] = []


def say(said: Said) -> None:
    os.write(1, msgspec.json.encode(said) + b"\n")


def counted(what: str, app: App, node: Node) -> Said:
    """Everything that is compared with the store's ledger."""
    assert isinstance(node, Runner)
    samples = app.metrics.snapshot().items()
    return Said(
        what,
        node.runner_id,
        counters=[(name, dict(labels), value) for (name, labels), value in samples if name in COUNTED],
    )


async def serve(config: HostConfig) -> None:
    app = make_app(lease_ttl_s=config.lease_ttl_s, drain_timeout_s=config.drain_timeout_s)
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    tell_stacks(loop)
    async with app.runner(store=config.store, listen=config.listen, advertise=config.advertise) as node:
        say(counted("serving", app, node))
        listening = asyncio.create_task(_obey(lambda: counted("counters", app, node), over))
        await over.wait()
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
    say(counted("drained", app, node))


async def _obey(count: Callable[[], Said], over: asyncio.Event) -> None:
    """Until the rig is gone; one that can't obey does not serve on."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    try:
        while line := await lines.readline():
            _do(msgspec.json.decode(line, type=Command), count)
    finally:
        over.set()


def _do(command: Command, count: Callable[[], Said]) -> None:
    match command.what:
        case "counters":
            say(count())
        case "block":
            began = now()
            threading.Event().wait(command.seconds)  # libfaketime 0.9.10 makes every `time.sleep` fail with EINVAL
            say(Said("blocked", seconds=now() - began))
        case "clock":
            say(Said("clock", seconds=time.time()))
        case "starve":
            asyncio.get_running_loop().call_later(command.seconds, _all_there_is().clear)
        case "hold":
            in_transaction[:] = [_hold]
        case _:
            raise ValueError(f"no command: {command}")


def _all_there_is() -> list[bytes]:
    """As much memory as this process gets."""
    taken: list[bytes] = []
    try:
        while True:
            taken.append(bytes(MOUTHFUL))
    except MemoryError:
        return taken


async def _hold(tx: Transaction) -> None:
    (row,) = await tx.fetch("SELECT pg_backend_pid() AS session")
    say(Said("holding", session=cast(int, row["session"])))
    await asyncio.sleep(HELD_S)


def run(config: HostConfig) -> None:
    """Serves to the end, on the event loop that `holdfast run` uses."""
    end_with_parent(config.parent)
    diary = Recorder(Path(config.folder) / f"{config.name}.{os.getpid()}.events")
    diaries.append((config.name, diary))
    end_watch = note_stalls(diary, config.name, lease_s=config.lease_ttl_s)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(config))
    end_watch()


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    run(msgspec.json.decode(sys.argv[-1], type=HostConfig))


if __name__ == "__main__":
    main()
