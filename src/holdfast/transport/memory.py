"""The network of the simulation: the real connections over pipes in memory.

Everything above the socket is what runs in production: frames, handshake, windows, deadlines, heartbeats. Only the
bytes' way is replaced. It is deterministic: delivery is a matter of the event loop's callbacks and of the random
generator passed in, and what one side wrote arrives at the other in order.

A node is one process: what arrives there, and the end of a connection, is handled in the context in which that end was
opened. As with TCP, single messages are never lost: a fault either holds bytes back for a while (a delay, a partition,
in which even the end of a connection goes unnoticed) or breaks the connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence

from holdfast.errors import ConfigurationError, RunnerUnavailable
from holdfast.ports.transport import Identity, Inbound
from holdfast.settings import TransportSettings

from .address import MemoryAddress, parse
from .client import introduce
from .connection import Connection
from .line import Line
from .server import Reception

Route = tuple[str, str]


class _Ending:
    """What a pipe delivers last."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


class MemoryTransport(asyncio.Transport):
    """One end of a connection, and the pipe of what it has written."""

    def __init__(self, network: MemoryNetwork, route: Route, protocol: Line, context: contextvars.Context) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._network = network
        self.route = route
        self._protocol = protocol
        self._other: MemoryTransport | None = None
        self._under_way: deque[tuple[float, bytes | _Ending]] = deque()
        self._timer: asyncio.Handle | None = None
        self._unread = 0
        self._low, self._high = 0, 0
        self._paused = False
        self._closing = False
        self._lost = False

    def join(self, other: MemoryTransport) -> None:
        self._other = other
        self._loop.call_soon(self._protocol.connection_made, self, context=self._context)

    # asyncio.Transport, as far as a connection uses it.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        if self._network.breaks():
            self.break_off(ConnectionResetError("the network broke the connection"))
            return
        self._unread += len(data)
        self._push(bytes(data))
        if self._unread > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 0
        self._low = low or 0

    def get_write_buffer_size(self) -> int:
        return self._unread

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._finish(_Ending(None))

    def abort(self) -> None:
        self._under_way.clear()
        self._finish(_Ending(ConnectionResetError("the peer reset the connection")))

    # The network's side.

    def break_off(self, error: Exception) -> None:
        """Both ends lose the connection now, with all that is under way."""
        for end in (self, self._other):
            if end is not None:
                end._closing = True
                end._under_way.clear()
                end._loop.call_soon(end._lose, error, context=end._context)

    def resume(self) -> None:
        """The route is open again."""
        if self._other is not None and self._under_way:
            self._loop.call_soon(self._pump, context=self._other._context)

    def _pump(self) -> None:
        """Delivers what is due, at the other end, and comes again for the rest; stands still on a blocked route."""
        assert self._other is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._under_way and not self._network.blocked(self.route):
            due, item = self._under_way[0]
            if due > self._loop.time():
                self._timer = self._loop.call_at(due, self._pump, context=self._other._context)
                return
            self._under_way.popleft()
            self._deliver(item)

    def _push(self, item: bytes | _Ending) -> None:
        assert self._other is not None
        earliest = self._under_way[-1][0] if self._under_way else 0.0
        due = max(earliest, self._loop.time() + self._network.delay_s())
        self._under_way.append((due, item))
        if self._timer is None:
            self._timer = self._loop.call_soon(self._pump, context=self._other._context)

    def _deliver(self, item: bytes | _Ending) -> None:
        other = self._other
        assert other is not None
        if isinstance(item, _Ending):
            other._closing = True
            other._lose(item.error)
            return
        self._unread -= len(item)
        if not other._closing:
            other._protocol.data_received(item)
        if self._paused and self._unread <= self._low:
            self._paused = False
            self._loop.call_soon(self._protocol.resume_writing, context=self._context)

    def _finish(self, ending: _Ending) -> None:
        if not self._closing:
            self._closing = True
            self._push(ending)
            self._loop.call_soon(self._lose, None)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)
        if not self._under_way:
            self._network.forget(self)


class MemoryListener:
    """Implements the port `Listener`."""

    def __init__(self, address: str, reception: Reception, forget: Callable[[], object]) -> None:
        self.address = address
        self._reception = reception
        self._forget = forget

    @property
    def peers(self) -> Sequence[Connection]:
        return self._reception.peers

    def go_away(self, message: str) -> None:
        self._reception.go_away(message)

    async def close(self) -> None:
        self._forget()
        await self._reception.close()


class MemoryNode:
    """One process in the network; implements the port `Network`."""

    def __init__(self, network: MemoryNetwork, name: str) -> None:
        self.name = name
        self._network = network

    async def listen(
        self,
        address: str,
        *,
        identity: Identity,
        inbound: Inbound,
        silenced: Callable[[], bool] | None = None,
    ) -> MemoryListener:
        reception = Reception(identity=identity, inbound=inbound, settings=self._network.settings, silenced=silenced)
        return self._network.open(self.name, address, reception)

    async def connect(self, address: str, *, identity: Identity, inbound: Inbound) -> Connection:
        connection = Connection(identity=identity, inbound=inbound, settings=self._network.settings)
        self._network.join(self.name, address, connection)
        await introduce(connection)
        return connection


class MemoryNetwork:
    """All nodes and what is between them.

    Each write is under way for a random time out of `delay_s` (shortest, longest; seconds), and breaks its
    connection with the probability `break_rate`.
    """

    def __init__(
        self,
        *,
        settings: TransportSettings | None = None,
        randomness: random.Random | None = None,
        delay_s: tuple[float, float] = (0.0, 0.0),
        break_rate: float = 0.0,
    ) -> None:
        self.settings = settings or TransportSettings()
        self._random = randomness or random.Random(0)
        self.delay_range_s = delay_s
        self.break_rate = break_rate
        self._listening: dict[str, tuple[str, Reception, contextvars.Context]] = {}
        self._transports: dict[MemoryTransport, None] = {}
        self._blocked: set[Route] = set()
        self._gone: set[str] = set()

    def node(self, name: str) -> MemoryNode:
        return MemoryNode(self, name)

    def partition(self, one: str, other: str) -> None:
        """Nothing passes between the two nodes until they are healed; what is written waits."""
        self._blocked |= {(one, other), (other, one)}

    def block(self, source: str, target: str) -> None:
        """The same in one direction only."""
        self._blocked.add((source, target))

    def heal(self, one: str, other: str) -> None:
        self._blocked -= {(one, other), (other, one)}
        for transport in self._between(one, other):
            transport.resume()

    def cut(self, one: str, other: str) -> None:
        """Breaks every connection between the two nodes; new ones are possible at once."""
        for transport in self._between(one, other):
            transport.break_off(ConnectionResetError("the network broke the connection"))

    def vanish(self, name: str) -> None:
        """The process is gone: its connections are reset, nobody listens there, and it reaches nobody any more."""
        self._gone.add(name)
        for address in [address for address, (node, _, _) in self._listening.items() if node == name]:
            del self._listening[address]
        for transport in [transport for transport in self._transports if name in transport.route]:
            transport.break_off(ConnectionResetError("the other process has ended"))

    # What nodes and transports need.

    def open(self, node: str, address: str, reception: Reception) -> MemoryListener:
        name = _name(address)
        if name in self._listening:
            raise ConfigurationError(f"somebody listens on {address} already")
        self._listening[name] = (node, reception, contextvars.copy_context())
        return MemoryListener(address, reception, lambda: self._listening.pop(name, None))

    def join(self, node: str, address: str, connection: Connection) -> None:
        """Lets the listener at the address receive a connection. Raises RunnerUnavailable where there is none."""
        found = self._listening.get(_name(address))
        if found is None or node in self._gone:
            raise RunnerUnavailable(f"nobody answers at {address}")
        target, reception, there = found
        near = MemoryTransport(self, (node, target), connection.line, contextvars.copy_context())
        context = there.copy()
        far = MemoryTransport(self, (target, node), context.run(reception.receive_line), context)
        self._transports |= {near: None, far: None}
        far.join(near)
        near.join(far)

    def forget(self, transport: MemoryTransport) -> None:
        self._transports.pop(transport, None)

    def blocked(self, route: Route) -> bool:
        return route in self._blocked

    def delay_s(self) -> float:
        shortest, longest = self.delay_range_s
        return shortest if shortest == longest else self._random.uniform(shortest, longest)

    def breaks(self) -> bool:
        return self.break_rate > 0 and self._random.random() < self.break_rate

    def _between(self, one: str, other: str) -> list[MemoryTransport]:
        routes = set(itertools.permutations((one, other)))
        return [transport for transport in self._transports if transport.route in routes]


def _name(address: str) -> str:
    parsed = parse(address)
    if not isinstance(parsed, MemoryAddress):
        raise ConfigurationError(f"{address} is an address of a socket, not of the simulation")
    return parsed.name
