"""A client's connection to the runner: found by the address in the store, kept, and made anew when it breaks.

What may be sent again is decided here. A volatile call or a question is repeated inside its deadline where it surely
was not executed: it had not left, or the runner refused it because it starts, stops or has moved. Where the line broke
after it had left, only a question that may be asked twice is; everybody else hears that the outcome is unknown.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from time import perf_counter

from holdfast.errors import (
    ConfigurationError,
    EntityNotAssignedToRunner,
    HoldfastError,
    MalformedMessage,
    RpcClientError,
    RunnerNotRegistered,
    RunnerUnavailable,
    SendTimeout,
)
from holdfast.kit.backoff import Backoff
from holdfast.kit.tasks import TaskOwner
from holdfast.model.envelope import Asking, Cancel, Incoming, Reply, Request, Result
from holdfast.model.ids import micros
from holdfast.ports.store import ClientStore
from holdfast.ports.transport import Identity, Network, Peer
from holdfast.transport import failure_of

logger = logging.getLogger("holdfast.runtime")

NOT_EXECUTED = (RunnerUnavailable, EntityNotAssignedToRunner, RunnerNotRegistered)
RECONNECT = Backoff(first_s=0.02, ceiling_s=1.0)


class RunnerLink:
    """One client's line to whichever runner holds the store; all methods belong to its loop."""

    def __init__(self, *, store: ClientStore, network: Network, software: str, rng: random.Random) -> None:
        self._store = store
        self._network = network
        self._software = software
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskOwner("holdfast-client")
        self._peer: Peer | None = None
        self._lost = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._stopped = False
        self.tried = False
        self.why = "not connected yet"
        self.on_connected: Callable[[], None] = _nothing
        self.on_unreachable: Callable[[], None] = _nothing

    async def start(self) -> None:
        """Returns after the first try, whichever way it went."""
        first = self._loop.create_future()
        self._waiting.append(first)
        self._tasks.start(self._keep(), name="connection")
        await first

    async def stop(self) -> None:
        self._stopped = True
        await self._tasks.stop()
        if self._peer is not None:
            self._peer.close()
            await self._peer.closed()
        self._wake()

    @property
    def peer(self) -> Peer | None:
        """The runner, where calls are possible now."""
        peer = self._peer
        return peer if peer is not None and peer.open else None

    @property
    def unreachable(self) -> bool:
        """No runner answered the last time one was looked for, or it is going away."""
        return self.tried and self.peer is None

    async def reached(self, timeout_s: float) -> Peer | None:
        """The runner, once it is connected; None when the next try, or the time, has ended without one."""
        peer = self.peer
        if peer is not None or self._stopped or timeout_s <= 0:
            return peer
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiter)
        timer = self._loop.call_later(timeout_s, _resolve, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
        return self.peer

    async def ask(self, asking: Asking, timeout_s: float, *, repeatable: bool = False) -> Reply:
        """Sends what may be sent again, until it is answered. Raises SendTimeout, RunnerUnavailable, or why not."""
        deadline = perf_counter() + timeout_s
        left_once = False
        while True:
            left_s = deadline - perf_counter()
            peer = self.peer or await self.reached(left_s)
            left_s = deadline - perf_counter()
            if left_s <= 0:
                raise self._too_late(timeout_s, left_once)
            if peer is None:
                continue
            asking.timeout_us = micros(left_s)
            try:
                return await peer.call(asking)
            except NOT_EXECUTED as error:
                await self._pause(error, min(left_s, 1.0))
            except RpcClientError:
                if not repeatable:
                    raise
                left_once = True

    async def question(self, service: str, payload: bytes, timeout_s: float, *, repeatable: bool = True) -> bytes:
        """A service's answer. Raises as `ask`."""
        answer = await self.ask(Request(0, service, payload, 0), timeout_s, repeatable=repeatable)
        if isinstance(answer, Result):
            return answer.payload
        raise MalformedMessage(f"the runner answered {service} with {type(answer).__name__}", executed="unknown")

    # The connection's life.

    async def _keep(self) -> None:
        failures = 0
        while True:
            if await self._connect():
                failures = 0
                await self._lost.wait()
                self._peer = None
            else:
                failures += 1
                await asyncio.sleep(RECONNECT.delay_s(failures, self._rng))

    async def _connect(self) -> bool:
        try:
            address = await self._store.runner_address()
            if address is None:
                raise RunnerUnavailable("no runner is registered in the store")
            identity = Identity(await self._store.cluster_id(), software=self._software)
            self._lost.clear()
            peer = await self._network.connect(address, identity=identity, inbound=self)
        except HoldfastError as error:
            self._unreached(error)
            return False
        self._peer = peer
        self.tried, self.why = True, ""
        self._wake()
        self.on_connected()
        return True

    def _unreached(self, error: HoldfastError) -> None:
        if self.why != str(error):
            self.why = str(error)
            level = logging.ERROR if isinstance(error, ConfigurationError) else logging.INFO
            logger.log(level, "no runner: %s", error)
        self.tried = True
        self._wake()
        self.on_unreachable()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            _resolve(waiter)

    async def _pause(self, error: HoldfastError, at_most_s: float) -> None:
        """Before the same runner is asked again; where the line is gone, the next try to connect is the pause."""
        if self.peer is not None:
            await asyncio.sleep(min(RECONNECT.delay_s(2, self._rng), at_most_s))

    def _too_late(self, timeout_s: float, left_once: bool) -> HoldfastError:
        if left_once:
            return SendTimeout(f"no reply within {timeout_s:g} s: {self.why or 'the connection broke meanwhile'}")
        return RunnerUnavailable(f"no runner answered within {timeout_s:g} s: {self.why or 'it is not ready'}")

    # What the connection calls (ports.transport.Inbound).

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        for envelope in batch:
            if not isinstance(envelope, Cancel):
                error = MalformedMessage("this process is a client: it serves nothing")
                peer.send(failure_of(error, correlation=envelope.correlation))

    def on_lost(self, peer: Peer) -> None:
        if peer is self._peer or self._peer is None:
            self._lost.set()


def _nothing() -> None:
    pass


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
