"""`holdfast run --runners N`: several runners on one machine, watched by a process that hosts nothing.

Each runner is a process of its own, with its own event loop and lease; one that dies is started again after a pause
that grows. One address serves them all: `/metrics` is their sum, `/readyz` says whether each makes progress. The
gateway's socket is opened here and shared by all of them. Signals go to every runner, and the runners end when this
process does, however it ends: their standard input is a pipe from here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from holdfast.errors import ConfigurationError
from holdfast.kit.backoff import Backoff
from holdfast.runtime.config import NodeConfig
from holdfast.storage.urls import masked, scheme
from holdfast.web.gateway_serving import LISTENER_VARIABLE, listen_for_all
from holdfast.web.ops import OpsServer

from .exits import Exit
from .signals import StopSignals
from .supervised import REPORT_VARIABLE, SUPERVISED_STORE_VARIABLE, Child, Children

logger = logging.getLogger("holdfast.cli")

PAUSES: Final = Backoff(first_s=0.5, ceiling_s=30.0)
STEADY_S: Final = 60.0
"""Seconds after which a runner that ended is not counted as failing again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """What every runner is started with."""

    target: str
    store: str = field(repr=False)
    listen: str | None
    advertise: str | None
    loop: str
    log_level: str
    gateway: socket.socket | None = None
    """Listens for all of them."""

    def command(self) -> list[str]:
        """Each takes any free port of the loopback: nobody but this process asks there.

        The store is not among the arguments: those everybody on the machine can read.
        """
        options = ["--http", "127.0.0.1:0", "--loop", self.loop, "--log-level", self.log_level]
        gateway = None if self.gateway is None else shown_address(self.gateway)
        for name, value in (("--listen", self.listen), ("--advertise", self.advertise), ("--gateway", gateway)):
            options += [name, value] if value else []
        return [sys.executable, "-m", "holdfast", "run", self.target, *options]

    def inherited(self) -> tuple[dict[str, str], list[int]]:
        """What else it gets: variables, and descriptors that they name."""
        if self.gateway is None:
            return {SUPERVISED_STORE_VARIABLE: self.store}, []
        listening = self.gateway.fileno()
        return {SUPERVISED_STORE_VARIABLE: self.store, LISTENER_VARIABLE: str(listening)}, [listening]


def shown_address(listener: socket.socket) -> str:
    """HOST:PORT."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check(config: NodeConfig, runners: int) -> None:
    """Raises ConfigurationError where the store can't serve so many."""
    if runners < 1:
        raise ConfigurationError(f"--runners is at least 1, not {runners}")
    if runners > 1 and scheme(config.store) not in ("postgresql", "postgres"):
        raise ConfigurationError(
            f"{masked(config.store)} serves one runner; for {runners} of them use PostgreSQL: --store postgresql://..."
        )
    if runners > 1 and config.listen is not None and config.listen[1]:
        raise ConfigurationError(
            f"{runners} runners can't all listen on port {config.listen[1]}: give --listen {config.listen[0]}:0"
        )


async def supervise(config: NodeConfig, options: RunnerOptions, runners: int) -> Exit:
    """Returns when all have ended: after a drain, or because one of them can't start."""
    task = asyncio.current_task()
    assert task is not None
    children = Children(config.http_token)
    async with AsyncExitStack() as open_things:
        signals = open_things.enter_context(StopSignals(task))
        if config.http is not None:
            pages = OpsServer(*config.http, metrics=children, health=children.health, token=config.http_token)
            address = pages.start()
            open_things.callback(pages.stop)
            print(f"metrics of all {runners} runners: {address.url}/metrics", flush=True)
        if config.gateway is not None:
            gateway = open_things.enter_context(listen_for_all(config))
            options = replace(options, gateway=gateway)
            print(f"gateway of all {runners} runners: {shown_address(gateway)}", flush=True)
        keepers = [asyncio.create_task(_keep(number, options, children, signals)) for number in range(runners)]
        try:
            return await _until_ended(keepers, children, signals)
        except asyncio.CancelledError:
            if not signals.insisted:
                raise
            children.signal(signal.SIGKILL)
            return Exit.FAILED
        finally:
            for keeper in keepers:
                keeper.cancel()
            children.signal(signal.SIGKILL)
            await asyncio.gather(*keepers, return_exceptions=True)


async def _until_ended(keepers: Sequence[asyncio.Task[Exit]], children: Children, signals: StopSignals) -> Exit:
    """The first signal drains all; a runner that gives up ends all."""
    asked = asyncio.ensure_future(signals.asked.wait())
    try:
        await asyncio.wait([asked, *keepers], return_when=asyncio.FIRST_COMPLETED)
        signals.asked.set()
        children.signal(signal.SIGTERM)
        codes = await asyncio.gather(*keepers)
    finally:
        asked.cancel()
        with suppress(asyncio.CancelledError):
            await asked
    return max(codes)


async def _keep(number: int, options: RunnerOptions, children: Children, signals: StopSignals) -> Exit:
    """One runner's place: a process in it, and another one when that has ended by itself."""
    failures, rng = 0, random.Random()
    while True:
        child = await _spawn(number, options)
        children.enter(child)
        try:
            code = await child.ended()
        finally:
            children.leave(child)
        if signals.asked.is_set():
            return Exit.OK if code == 0 else Exit.FAILED
        if code == Exit.USAGE and not child.ready:
            return Exit.USAGE  # it has said why: another try would end the same
        failures = 1 if child.lived_s > STEADY_S else failures + 1
        pause_s = PAUSES.delay_s(failures, rng)
        logger.error("runner %s ended with %s; another one starts in %.1f s", number, code, pause_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(signals.asked.wait(), pause_s)
            return Exit.OK


async def _spawn(number: int, options: RunnerOptions) -> Child:
    read_end, write_end = os.pipe()
    variables, descriptors = options.inherited()
    try:
        process = await asyncio.create_subprocess_exec(
            *options.command(),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[write_end, *descriptors],
            start_new_session=True,  # a Ctrl-C at the terminal comes here, and from here to them, once
            env={**os.environ, **variables, REPORT_VARIABLE: str(write_end)},
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return Child(number, process, read_end)
