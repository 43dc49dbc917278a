"""Which runner to ask: one link to each, chosen by who owns the shard.

An embedded store has one runner, which owns everything: `OneLink`. On a shared store `LinksByOwner` asks the routes
for the owner of a shard and keeps one connection to each runner it has had something for. Where a runner refuses
because the shard has moved, can't be reached, or owes answers and gives no sign of life, the store is asked who owns
what now. A runner that is not registered any more is asked nothing more, and given up when it owes no answer or gives
no sign of life, so that whoever waits for it hears so; one that lost its lease and has come back as another still
answers what it was asked before.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol

from holdfast.errors import HoldfastError, MalformedMessage
from holdfast.kit.service import Periodic
from holdfast.kit.tasks import TaskOwner
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.envelope import Cancel, Incoming, Request, Result
from holdfast.ports.transport import Identity, Network, Peer
from holdfast.runtime.questions import MOVED, Moved, unpack
from holdfast.transport import failure_of

from .link import Changes, Find, RunnerLink

logger = logging.getLogger("holdfast.runtime")

LOOK_EVERY_S = 0.2
"""Seconds between two looks at the links, and between two questions to the store about who owns what."""
SILENCE_S = 0.5
"""Seconds that a runner may owe answers without a sign of life before the store is asked whether it is alive."""


class Link(Protocol):
    """The way to whoever serves something, as far as there is one."""

    @property
    def current(self) -> Peer | None: ...

    @property
    def peer(self) -> Peer | None: ...

    @property
    def unreachable(self) -> bool: ...

    @property
    def why(self) -> str: ...

    def open(self) -> None: ...


class Links(Protocol):
    """The links of one process."""

    @property
    def changes(self) -> Changes: ...

    @property
    def alone(self) -> bool:
        """Whether one runner has everything."""
        ...

    def toward(self, shard: int) -> Link:
        """The link to the owner of a shard."""
        ...

    def toward_entity(self, entity_type: str, entity_id: str) -> Link:
        """The link to the owner of an entity; once for each call, so it is quick."""
        ...

    def to(self, runner_id: int) -> Link:
        """The link to a runner."""
        ...

    def anyone(self) -> Link:
        """A link to a runner, whichever; one that answers, where there is one."""
        ...

    def everyone(self) -> Sequence[tuple[str, Link]]:
        """Links to all other runners, with the names by which errors call them."""
        ...

    def peers(self) -> Sequence[RunnerRow]:
        """All other runners, as far as is known."""
        ...

    def astray(self) -> None:
        """Something was refused because it belongs elsewhere, or its owner was not reached."""
        ...

    def standing(self) -> tuple[bool, str]:
        """Whether some runner is connected, and how things stand in words. Callable from any thread."""
        ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Routes(Protocol):
    """Who owns which shard, as far as this process knows (`cluster.routing`)."""

    @property
    def runners(self) -> Collection[RunnerRow]:
        """Those registered when the store was last asked."""
        ...

    def owner(self, shard: int) -> RunnerRow | None: ...

    async def refresh(self) -> None:
        """Asks the store, at most every 200 ms. Raises PersistenceError."""
        ...

    def learn(self, shards: Iterable[ShardRow], runners: Iterable[RunnerRow] = ()) -> None:
        """Takes in what a peer said of some shards."""
        ...

    async def close(self) -> None:
        """Asks no more."""
        ...


class Dialling:
    """How this process connects: over which network, and as whom."""

    def __init__(
        self,
        *,
        network: Network,
        cluster_id: Callable[[], Awaitable[str]],
        software: str,
        rng: random.Random,
        token: str = "",
        runner_id: Callable[[], int] = lambda: 0,
    ) -> None:
        self._network = network
        self._cluster_id = cluster_id
        self._software = software
        self._token = token
        self._rng = rng
        self.runner_id = runner_id

    def link(self, find: Find, changes: Changes, moved: Callable[[Moved], None]) -> RunnerLink:
        return RunnerLink(
            find=find,
            introduce=self._introduce,
            network=self._network,
            hear=Hearing(moved),
            changes=changes,
            rng=self._rng,
        )

    async def _introduce(self) -> Identity:
        return Identity(await self._cluster_id(), self.runner_id(), self._software, self._token)


class Hearing:
    """What this process does with what the other end of a link asks of it: hears of moved shards, and nothing else."""

    def __init__(self, moved: Callable[[Moved], None]) -> None:
        self._moved = moved

    def __call__(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        for envelope in batch:
            if isinstance(envelope, Cancel):
                continue
            try:
                if not (isinstance(envelope, Request) and envelope.service == MOVED):
                    raise MalformedMessage("this end of the connection asks: it serves nothing")
                self._moved(unpack(envelope.payload, Moved))
            except HoldfastError as error:
                peer.send(failure_of(error, correlation=envelope.correlation))
            else:
                peer.send(Result(envelope.correlation, NOTHING))


NOTHING = b"\xc0"
"""None as it travels."""


class OneLink:
    """All there is to reach on an embedded store: the one runner that owns everything."""

    alone = True

    def __init__(self, *, find: Find, dialling: Dialling) -> None:
        self.changes = Changes()
        self.link = dialling.link(find, self.changes, _unmoved)

    def toward(self, shard: int) -> Link:
        return self.link

    def toward_entity(self, entity_type: str, entity_id: str) -> Link:
        return self.link

    def to(self, runner_id: int) -> Link:
        return self.link

    def anyone(self) -> Link:
        return self.link

    def everyone(self) -> Sequence[tuple[str, Link]]:
        return [("the runner", self.link)]

    def peers(self) -> Sequence[RunnerRow]:
        return ()

    def astray(self) -> None:
        """The link looks for the runner by itself."""

    def standing(self) -> tuple[bool, str]:
        connected = self.link.peer is not None
        return connected, "connected" if connected else self.link.why

    async def start(self) -> None:
        """Returns after the first try to reach the runner, whichever way it went."""
        await self.link.reached(float("inf"))

    async def stop(self) -> None:
        await self.link.stop()


class Nobody:
    """The link to a shard that nobody owns for the moment, as far as is known."""

    current = None
    peer = None

    def __init__(self) -> None:
        self.unreachable = False
        self.why = "the store has not said yet who owns its shard"

    def is_so(self) -> None:
        """The store was asked."""
        self.unreachable, self.why = True, "no runner owns its shard"

    def open(self) -> None:
        """There is nothing to open; the routes are looked at again soon."""


class LinksByOwner:
    """One link to each runner of a shared store that this process has something for."""

    alone = False

    def __init__(self, *, routes: Routes, dialling: Dialling, shard_of: Callable[[str, str], int]) -> None:
        self.changes = Changes()
        self._shard_of = shard_of
        self._routes = routes
        self._dialling = dialling
        self._links: dict[int, RunnerLink] = {}
        self._leaving: list[RunnerLink] = []
        self._nobody = Nobody()
        self._loop = asyncio.get_running_loop()
        self._astray = False
        self._looked_up_at = -math.inf
        self._looks = Periodic("holdfast-links", self._look, every_s=LOOK_EVERY_S)
        self._tasks = TaskOwner("holdfast-links-given-up")

    async def start(self) -> None:
        self._astray = True
        await self._looks.start()

    async def stop(self) -> None:
        await self._looks.stop()
        for link in [*self._links.values(), *self._leaving]:
            await link.stop()
        await self._tasks.stop()

    def toward(self, shard: int) -> Link:
        owner = self._routes.owner(shard)
        if owner is None:
            self.astray()
            return self._nobody
        return self._links.get(owner.runner_id) or self._new(owner)

    def toward_entity(self, entity_type: str, entity_id: str) -> Link:
        return self.toward(self._shard_of(entity_type, entity_id))

    def to(self, runner_id: int) -> Link:
        link = self._links.get(runner_id)
        if link is None:
            row = next((row for row in self._routes.runners if row.runner_id == runner_id), None)
            return self._none_at_all() if row is None else self._new(row)
        return link

    def anyone(self) -> Link:
        for connected in self._links.values():
            if connected.peer is not None:
                return connected
        links = [link for _, link in self.everyone()]
        for link in links:
            link.open()
        return next((link for link in links if not link.unreachable), links[0] if links else self._none_at_all())

    def everyone(self) -> Sequence[tuple[str, Link]]:
        return [
            (f"runner {row.runner_id}", self._links.get(row.runner_id) or self._new(row))
            for row in self.peers()
            if row.address
        ]

    def peers(self) -> Sequence[RunnerRow]:
        own = self._dialling.runner_id()
        return [row for row in self._routes.runners if row.runner_id != own]

    def astray(self) -> None:
        self._astray = True
        if self._may_look_up():
            self._looks.wake()

    def standing(self) -> tuple[bool, str]:
        links = list(self._links.values())
        connected = sum(link.peer is not None for link in links)
        why = next((link.why for link in links if link.why), "nobody was asked yet")
        return connected > 0 or not links, f"connected to {connected} runners" if connected else why

    def heard_of(self, told: Moved) -> None:
        """A peer says who owns some shards now."""
        self._routes.learn((row for row, _ in told.shards), (told.runner,))
        self.changes.tell()

    def _none_at_all(self) -> Link:
        self.astray()
        return self._nobody

    def _new(self, owner: RunnerRow) -> Link:
        if not owner.address:
            self.astray()
            return self._nobody
        # This very runner is asked like any other: a call that began while the shard was elsewhere may end here.

        async def address() -> str:
            return owner.address

        link = self._links[owner.runner_id] = self._dialling.link(address, self.changes, self.heard_of)
        link.open()
        return link

    # Looking after the links.

    async def _look(self) -> None:
        for link in [*self._links.values(), *self._leaving]:
            if link.silent_s > LOOK_EVERY_S:
                link.probe()
        if self._troubled() and self._may_look_up():
            self._astray = False
            self._looked_up_at = self._loop.time()
            await self._routes.refresh()
            self._nobody.is_so()
            self._ask_the_dead_no_more()
            self.changes.tell()
        self._give_up()

    def _troubled(self) -> bool:
        return self._astray or any(link.silent_s > SILENCE_S for link in self._links.values())

    def _may_look_up(self) -> bool:
        return self._loop.time() - self._looked_up_at >= LOOK_EVERY_S * 0.9  # a tick that is a little early counts

    def _ask_the_dead_no_more(self) -> None:
        alive = {row.runner_id for row in self._routes.runners}
        for runner_id in self._links.keys() - alive:
            logger.info("runner %s is not registered any more: its connection is given up", runner_id)
            self._leaving.append(self._links.pop(runner_id))

    def _give_up(self) -> None:
        for link in [link for link in self._leaving if not link.owes or link.silent_s > SILENCE_S]:
            self._leaving.remove(link)
            self._tasks.start(link.stop(), name="runner")


def _unmoved(told: Moved) -> None:
    """On an embedded store nothing moves."""
