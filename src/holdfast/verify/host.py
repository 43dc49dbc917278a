"""A runner process of the rig: `python -m holdfast.verify.host CONFIG`.

It does what `holdfast run` does, and what the rig tells it over standard input, a line each: say its counters, block
its event loop, wait in a transaction. It drains on SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

import msgspec

from holdfast.metrics import MetricsService

from .parent import end_with_parent
from .subject import in_transaction, make_app

HELD_S = 0.5
"""Seconds that a transaction waits to be frozen."""


class HostConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the rig tells a runner."""

    store: str
    listen: str | None
    advertise: str | None
    lease_ttl_s: float
    drain_timeout_s: float


class Command(msgspec.Struct, frozen=True):
    """`counters`, `block` for some seconds, or `hold` a transaction open."""

    what: str
    seconds: float = 0.0


class Said(msgspec.Struct, frozen=True):
    """What a runner says: `serving`, `holding`, `counters` or `drained`."""

    what: str
    counters: list[tuple[str, dict[str, str], float]] = []


def say(said: Said) -> None:
    os.write(1, msgspec.json.encode(said) + b"\n")


def counters(metrics: MetricsService) -> list[tuple[str, dict[str, str], float]]:
    """Everything that is compared with the store's ledger."""
    return [
        (name, dict(labels), value)
        for (name, labels), value in metrics.snapshot().items()
        if name.startswith(("jobs_", "cluster_")) and "_bucket" not in name and "seconds" not in name
    ]


async def serve(config: HostConfig) -> None:
    app = make_app(lease_ttl_s=config.lease_ttl_s, drain_timeout_s=config.drain_timeout_s)
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    async with app.runner(store=config.store, listen=config.listen, advertise=config.advertise):
        say(Said("serving"))
        listening = asyncio.create_task(_obey(app.metrics, over))
        await over.wait()
        listening.cancel()
    say(Said("drained", counters(app.metrics)))


async def _obey(metrics: MetricsService, over: asyncio.Event) -> None:
    """Until the rig is gone."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = msgspec.json.decode(line, type=Command)
        match command.what:
            case "counters":
                say(Said("counters", counters(metrics)))
            case "block":
                time.sleep(command.seconds)  # noqa: ASYNC251 - the fault itself
            case "hold":
                in_transaction[:] = [_hold]
            case _:
                raise ValueError(f"no command: {command}")
    over.set()


async def _hold() -> None:
    say(Said("holding"))
    await asyncio.sleep(HELD_S)


def run(config: HostConfig) -> None:
    """Serves to the end, on the event loop that `holdfast run` uses."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(config))


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    end_with_parent()
    run(msgspec.json.decode(sys.argv[-1], type=HostConfig))


if __name__ == "__main__":
    main()
