"""Peers: what the engines need of a connection to another process, and of whatever makes connections.

A connection is one multiplexed line between two processes. In order: what one side sends arrives in the order sent.
At most once: an envelope is never repeated. Not reliable: the line may break at any moment, and then nobody knows
what of the last envelopes arrived, except that what had not left the process yet surely did not.

All methods belong to the event loop the connection was made on. None of them blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from holdfast.model.envelope import Asking, Call, Incoming, Outgoing, Reply, Request, StreamOpen

__all__ = [
    "Asking",
    "Call",
    "Identity",
    "Inbound",
    "Incoming",
    "Listener",
    "Network",
    "Outgoing",
    "OutgoingStream",
    "Peer",
    "RemoteStream",
    "Reply",
    "Request",
    "StreamDeclined",
    "StreamOpen",
]


class Identity(NamedTuple):
    """Who speaks: `runner_id` 0 is a client. The token is checked by the listening side and kept by neither."""

    cluster_id: str
    runner_id: int = 0
    software: str = ""
    token: str = ""

    def __repr__(self) -> str:
        """Without the token: an identity may turn up in a log."""
        return f"Identity({self.cluster_id!r}, runner_id={self.runner_id}, software={self.software!r})"


class StreamDeclined(Exception):
    """A stream's handler raised an error that it declares: whoever knows the codec rebuilds it from the payload.

    Never reaches a user as it is, hence not in the tree of errors.
    """

    def __init__(self, payload: bytes) -> None:
        super().__init__("the stream's handler raised a declared error")
        self.payload = payload


class RemoteStream(Protocol):
    """The consumer's end of a stream: its items' payloads, in order, none lost before the end or an error.

    Iterating raises what ended the stream out of order: the producer's Failure as its error, `StreamDeclined` for
    a declared error, RpcClientError when the line broke.
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    def cancel(self) -> None:
        """Tells the producer to stop. Harmless when the stream has ended, or twice."""
        ...


class OutgoingStream(Protocol):
    """The producer's end of a stream."""

    @property
    def stopped(self) -> bool:
        """The consumer cancelled, or the line broke."""
        ...

    async def send(self, payload: bytes) -> bool:
        """Sends one item, first waiting until the consumer has room; False when nobody will read it any more."""
        ...

    def end(self, outcome: Reply | None = None) -> None:
        """Ends the stream: in order, or with a DeclaredError or Failure (whose correlation is filled in here)."""
        ...


class Peer(Protocol):
    """The process at the other end of a connection."""

    @property
    def identity(self) -> Identity:
        """Who the peer said it is when the connection was opened (its token is not kept)."""
        ...

    @property
    def open(self) -> bool:
        """Calls are possible: the line stands and the peer has not said that it is going away."""
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since anything was heard of the peer."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that the peer has not answered yet."""
        ...

    def probe(self) -> None:
        """Asks for a sign of life, which `silent_s` will show."""
        ...

    def call(self, asking: Asking) -> asyncio.Future[Reply]:
        """Sends a Call or Request; the future has its answer, or the error that a Failure stands for.

        Raises at once, with nothing sent: MailboxFull when the window to this peer is full, RunnerUnavailable when
        the peer is gone or going. The future fails with SendTimeout at the deadline, MalformedMessage when the
        envelope can't be sent as it is, RunnerUnavailable when the line broke before it had left, RpcClientError
        (executed "unknown") when it broke later. Cancelling the future tells the peer.
        """
        ...

    def stream(self, opening: StreamOpen) -> RemoteStream:
        """Opens a stream at the peer; raises like `call`."""
        ...

    def send(self, envelope: Outgoing, /) -> None:
        """Answers something the peer asked, now or later, from any callback. Dropped when the line is gone.

        An answer that can't be sent as it is (too large, not encodable) reaches the peer as a SerializationError.
        """
        ...

    def produce(self, opening: StreamOpen) -> OutgoingStream:
        """The producer's end of a stream that the peer opened; call it while handling the StreamOpen."""
        ...

    def go_away(self, message: str) -> None:
        """Tells the peer to send nothing new; what it asked before is still answered."""
        ...

    def close(self) -> None:
        """Sends what is waiting and ends the line. Calls without an answer fail. Works twice."""
        ...

    async def closed(self) -> None:
        """Returns when the line is gone."""
        ...


class Inbound(Protocol):
    """What a process does with what its peers ask."""

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        """Takes all that arrived in one go, in order. Must not block; must answer each Call and Request once.

        A Cancel names a Call, Request or StreamOpen of the same peer that has not been answered, or just was.
        An error raised here breaks the connection.
        """
        ...

    def on_lost(self, peer: Peer) -> None:
        """The line is gone: answers to this peer have nowhere to go. Called once for each connection."""
        ...


class Listener(Protocol):
    """An address where peers are welcome."""

    @property
    def address(self) -> str:
        """Where peers find it; may differ from what was asked for (a port chosen by the system, a shorter path)."""
        ...

    @property
    def peers(self) -> Sequence[Peer]:
        """Those connected now."""
        ...

    def go_away(self, message: str) -> None:
        """Says so to all peers, and refuses new ones."""
        ...

    async def close(self) -> None:
        """Stops listening and ends all connections; returns when they are gone. Works twice."""
        ...


class Network(Protocol):
    """Makes connections: sockets (`unix:PATH`, `tcp:HOST:PORT`), or the simulation's memory (`memory:NAME`)."""

    async def listen(
        self,
        address: str,
        *,
        identity: Identity,
        inbound: Inbound,
        silenced: Callable[[], bool] | None = None,
    ) -> Listener:
        """Welcomes peers of the same cluster. Raises ConfigurationError where the address can't be had.

        `silenced` is asked before each write: where it says so nothing is written, and the connection ends instead,
        since its peer would take silence for an answer that is still to come.
        """
        ...

    async def connect(self, address: str, *, identity: Identity, inbound: Inbound) -> Peer:
        """Opens a connection, or says why not; retrying is the caller's business.

        Raises RunnerUnavailable when nobody suitable answers there (also: another cluster, no common version),
        ConfigurationError when the token is refused.
        """
        ...
