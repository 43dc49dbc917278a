"""One connection to one runner: opened on demand, kept, and made anew with a backoff when it breaks.

Whoever has something to send asks for the `peer`, and where there is none waits for `Changes` to tell of one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

from holdfast.errors import (
    ConfigurationError,
    EntityNotAssignedToRunner,
    HoldfastError,
    RunnerNotRegistered,
    RunnerUnavailable,
)
from holdfast.kit.backoff import Backoff
from holdfast.kit.tasks import TaskOwner
from holdfast.model.envelope import Incoming
from holdfast.ports.transport import Identity, Network, Peer

logger = logging.getLogger("holdfast.runtime")

NOT_EXECUTED = (RunnerUnavailable, EntityNotAssignedToRunner, RunnerNotRegistered)
"""What was refused like this surely did not run: it had not left, or the runner starts, stops, or is not the owner."""

RECONNECT = Backoff(first_s=0.02, ceiling_s=1.0)

Find = Callable[[], Awaitable[str]]
"""Where the runner listens. Raises RunnerUnavailable, PersistenceError."""

Introduce = Callable[[], Awaitable[Identity]]
"""Who this process is to the runner."""

Hear = Callable[[Peer, Sequence[Incoming]], None]
"""Takes what the runner asks of this process."""


class Changes:
    """Tells whoever waits that a way to a runner may have come or gone, or that shards have moved."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        self._heard: list[Callable[[], None]] = []

    def listen(self, heard: Callable[[], None]) -> None:
        """Has this called at every change."""
        self._heard.append(heard)

    def tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            _resolve(waiter)
        for heard in self._heard:
            heard()

    def close(self) -> None:
        """Those who listen hear no more; those who wait still do."""
        self._heard.clear()

    async def next(self, timeout_s: float) -> None:
        """Returns at the next change, or when so many seconds have passed."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiter)
        timer = self._loop.call_later(timeout_s, _resolve, waiter)
        try:
            await waiter
        finally:
            timer.cancel()


class RunnerLink:
    """This process's line to one runner; all methods belong to its loop."""

    def __init__(
        self,
        *,
        find: Find,
        introduce: Introduce,
        network: Network,
        hear: Hear,
        changes: Changes,
        rng: random.Random,
    ) -> None:
        self._find = find
        self._introduce = introduce
        self._network = network
        self._hear = hear
        self._changes = changes
        self._rng = rng
        self._tasks = TaskOwner("holdfast-link")
        self._lost = asyncio.Event()
        self._opened = False
        self._tried = False
        self.current: Peer | None = None
        """As it was last heard of: asking it may raise RunnerUnavailable, as it may be going away."""
        self.why = "not connected yet"

    def open(self) -> None:
        """Connects, and stays connected, from now on. Works twice."""
        if not self._opened:
            self._opened = True
            self._tasks.start(self._keep(), name="keep")

    async def stop(self) -> None:
        """Ends the connection: calls without an answer fail. Works twice, and before `open`."""
        self._opened = True
        await self._tasks.stop()
        peer, self.current = self.current, None
        if peer is not None:
            peer.close()
            await peer.closed()
        self.why, self._tried = "this process has given up the connection", True
        self._changes.tell()

    @property
    def peer(self) -> Peer | None:
        """The runner, where calls are possible now."""
        peer = self.current
        return peer if peer is not None and peer.open else None

    @property
    def unreachable(self) -> bool:
        """The runner did not answer the last time it was tried, or it is going away."""
        return self._tried and self.peer is None

    @property
    def owes(self) -> bool:
        """Whether the runner owes answers; also while it is going away."""
        return self.current is not None and bool(self.current.waiting)

    @property
    def silent_s(self) -> float:
        """Seconds for which the runner owes answers and gave no sign of life; 0 where it owes none."""
        return self.current.silent_s if self.current is not None and self.current.waiting else 0.0

    def probe(self) -> None:
        """Asks the runner for a sign of life."""
        if self.current is not None:
            self.current.probe()

    async def reached(self, timeout_s: float) -> Peer | None:
        """The runner, once it is connected; None when the first try, or the time, has ended without one."""
        self.open()
        deadline = perf_counter() + timeout_s
        while not self._tried and (left_s := deadline - perf_counter()) > 0:
            await self._changes.next(left_s)
        return self.peer

    # The connection's life.

    async def _keep(self) -> None:
        failures = 0
        while True:
            if await self._connect():
                failures = 0
                await self._lost.wait()
                self.current = None
                self._changes.tell()
            else:
                failures += 1
                await asyncio.sleep(RECONNECT.delay_s(failures, self._rng))

    async def _connect(self) -> bool:
        self._lost.clear()
        try:
            address = await self._find()
            self.current = await self._network.connect(address, identity=await self._introduce(), inbound=self)
        except Exception as error:
            self._failed(error)
            return False
        self._tried, self.why = True, ""
        self._changes.tell()
        return True

    def _failed(self, error: Exception) -> None:
        """Also what nobody has foreseen is told to those who wait, and the connection tried again."""
        foreseen = isinstance(error, HoldfastError)
        why = str(error) if foreseen else f"{type(error).__name__}: {error}"
        if self.why != why:
            self.why = why
            level = logging.INFO if foreseen and not isinstance(error, ConfigurationError) else logging.ERROR
            logger.log(level, "no runner: %s", why, exc_info=None if foreseen else error)
        self._tried = True
        self._changes.tell()

    # What the connection calls (ports.transport.Inbound).

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        self._hear(peer, batch)

    def on_lost(self, peer: Peer) -> None:
        if peer is self.current or self.current is None:
            self._lost.set()


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
