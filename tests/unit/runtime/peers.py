"""Runners as their peers see them, on a network in memory: they answer for their shards and refuse the others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence

from holdfast.errors import EntityNotAssignedToRunner, HoldfastError
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.envelope import Call, Cancel, Reply, Request, Result, StreamOpen
from holdfast.ports.transport import Identity, Incoming, Listener, Peer
from holdfast.runtime.remote.links import Dialling, LinksByOwner
from holdfast.settings import TransportSettings
from holdfast.transport import MemoryNetwork, failure_of

CLUSTER = "c-1"


def runner_row(runner_id: int) -> RunnerRow:
    return RunnerRow(runner_id, f"memory:{runner_id}", "1", (), ("default",), 1.0, "active", "active", 0, 0)


def shard_of(entity_type: str, entity_id: str) -> int:
    """The tests' entities are named by their shard."""
    return int(entity_id)


class FakeRunner:
    """Answers calls with its own id; keeps all that it was asked."""

    def __init__(self, cluster: FakeCluster, runner_id: int) -> None:
        self._cluster = cluster
        self.runner_id = runner_id
        self.owned: set[int] = set()
        self.calls: list[Call] = []
        self.requests: list[Request] = []
        self.cancelled: list[int] = []
        self.mute = False
        self.refusal: HoldfastError | None = None
        self.listener: Listener | None = None

    async def listen(self) -> None:
        self.listener = await self._cluster.network.node(str(self.runner_id)).listen(
            f"memory:{self.runner_id}", identity=Identity(CLUSTER, self.runner_id), inbound=self
        )

    async def die(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            await listener.close()

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        for envelope in batch:
            match envelope:
                case Call():
                    self.calls.append(envelope)
                    self._answer(peer, envelope)
                case Request():
                    self.requests.append(envelope)
                    peer.send(Result(envelope.correlation, b"\xc0"))
                case StreamOpen():
                    outgoing = peer.produce(envelope)
                    outgoing.end(failure_of(EntityNotAssignedToRunner("not here")))
                case Cancel():
                    self.cancelled.append(envelope.correlation)

    def on_lost(self, peer: Peer) -> None:
        pass

    def _answer(self, peer: Peer, call: Call) -> None:
        if self.mute:
            return
        if self.refusal is not None:
            peer.send(failure_of(self.refusal, correlation=call.correlation))
        elif shard_of(call.entity_type, call.entity_id) in self.owned:
            peer.send(Result(call.correlation, str(self.runner_id).encode()))
        else:
            peer.send(failure_of(EntityNotAssignedToRunner("not here"), correlation=call.correlation))


class FakeRoutes:
    """What a store would say of the fake runners, when it is asked."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self._owners: dict[int, int] = {}
        self.runners: tuple[RunnerRow, ...] = ()
        self.readings = 0

    def owner(self, shard: int) -> RunnerRow | None:
        owner = self._owners.get(shard)
        return next((row for row in self.runners if row.runner_id == owner), None)

    async def refresh(self) -> None:
        self.readings += 1
        self._owners = {shard: runner.runner_id for runner in self._cluster.registered for shard in runner.owned}
        self.runners = tuple(runner_row(runner.runner_id) for runner in self._cluster.registered)

    def learn(self, shards: Iterable[ShardRow], runners: Iterable[RunnerRow] = ()) -> None:
        self._owners |= {row.number: row.runner_id for row in shards}


class FakeCluster:
    """The runners, and the links of one client to them."""

    def __init__(self) -> None:
        self.network = MemoryNetwork(settings=TransportSettings())
        self.registered: list[FakeRunner] = []
        self.routes = FakeRoutes(self)
        self.links = LinksByOwner(
            routes=self.routes,
            shard_of=shard_of,
            dialling=Dialling(
                network=self.network.node("client"), cluster_id=_cluster_id, software="test", rng=random.Random(0)
            ),
        )

    async def runner(self, runner_id: int, owned: Collection[int]) -> FakeRunner:
        runner = FakeRunner(self, runner_id)
        runner.owned |= set(owned)
        await runner.listen()
        self.registered.append(runner)
        return runner

    def reap(self, runner: FakeRunner, heir: FakeRunner) -> None:
        """Its shards are another's; the store does not know it any more."""
        self.registered.remove(runner)
        heir.owned |= runner.owned
        runner.owned.clear()

    def under_way(self, runner_id: int) -> int:
        """Questions that have left for a runner and wait for their answer."""
        peer = self.links._links[runner_id].current  # pyright: ignore[reportPrivateUsage]
        return 0 if peer is None else peer.waiting

    async def close(self) -> None:
        await self.links.stop()
        for runner in self.registered:
            await runner.die()


def call(shard: int) -> Call:
    return Call(0, "Cart", str(shard), "add", b"", 0)


def value(reply: Reply) -> int:
    assert isinstance(reply, Result)
    return int(reply.payload)


async def _cluster_id() -> str:
    return CLUSTER


async def until(seen: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not seen():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
