"""A runner of the tests' shop in a process of its own, what its memory is, and somebody who may speak to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from holdfast.model.envelope import Call, Incoming
from holdfast.ports.transport import Identity, Peer
from holdfast.storage.open import open_client_store
from holdfast.transport import SocketNetwork
from holdfast.transport.connection import Connection
from tests.integration.processes import RunnerProcess

PATIENCE_S = 120.0
_SELF = "/proc/{pid}/status"


class Silent:
    """An `Inbound` that is asked nothing."""

    def __init__(self) -> None:
        self.lost: list[Peer] = []

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        """Not by a runner."""

    def on_lost(self, peer: Peer) -> None:
        self.lost.append(peer)


class Victim:
    """What is attacked, as its attackers see it."""

    def __init__(self, process: RunnerProcess, url: str) -> None:
        self.url = url
        self._process = process
        self.cluster_id = ""
        self.address = ""
        self._number = 2**41

    async def find(self) -> None:
        """Where it listens, as every client learns it."""
        store = await open_client_store(self.url)
        self.cluster_id = await store.cluster_id()
        self.address = (await store.membership.runners())[0].address
        await store.close()

    @property
    def memory_bytes(self) -> int:
        """What of it is in memory."""
        status = Path(_SELF.format(pid=self._process.pid)).read_text()
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])

    def identity(self) -> Identity:
        return Identity(self.cluster_id, software="fuzz")

    def call(self, method: str, payload: bytes, *, entity_id: str = "good", durable: bool = False) -> Call:
        self._number += 1
        return Call(0, "Cart", entity_id, method, payload, 20_000_000, self._number if durable else 0)

    @asynccontextmanager
    async def guest(self) -> AsyncGenerator[Connection]:
        """Somebody who keeps to the rules, whatever others do."""
        peer = await SocketNetwork().connect(self.address, identity=self.identity(), inbound=Silent())
        try:
            yield peer
        finally:
            peer.close()
            await peer.closed()

    @asynccontextmanager
    async def stranger(self) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A bare socket."""
        reader, writer = await asyncio.open_unix_connection(self.address.removeprefix("unix:"))
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
