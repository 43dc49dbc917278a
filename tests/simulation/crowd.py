"""Several entity engines on one store in memory, which pass shards to and fro.

Ownership is kept here, by hand, as `cluster/` keeps it in a real runner: an owner first serves no more, then releases,
then the next one is the owner, adopts what is stored, and serves. Every commit is checked against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from random import Random
from typing import Any, cast

from holdfast import App, testing
from holdfast.entities.door import Door, Link
from holdfast.entities.elsewhere import Elsewhere
from holdfast.entities.engine import EntityEngine
from holdfast.entities.inbound import Stays
from holdfast.entities.surroundings import Surroundings
from holdfast.errors import (
    EntityNotAssignedToRunner,
    FencedOut,
    MessageError,
    PersistenceError,
    RunnerNotRegistered,
    RunnerUnavailable,
)
from holdfast.kit.batching import GroupCommit, Lanes
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.hashing import shard_of
from holdfast.kit.ids import IdPool
from holdfast.kit.service import Periodic
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.model.inbox import decode_entry
from holdfast.model.message import DoneRow, InboxRow, MessageRow, StateRow, Take
from holdfast.model.unit import Unit
from holdfast.ports.commits import CommitItem
from holdfast.ports.membership import Registration
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.memory.tables import Tables
from holdfast.testing.loop import LoopClock

SHARDS = 8
CALL_TIMEOUT_S = 30.0


class Served:
    """One member's territory."""

    def __init__(self) -> None:
        self.shards: set[int] = set()

    def serves(self, shard: int) -> bool:
        return shard in self.shards


def splits(error: BaseException) -> bool:
    """As a runner has it: whether some unit of a failed batch is to blame."""
    return isinstance(error, PersistenceError) and not isinstance(error, FencedOut) and error.executed != "unknown"


class Member:
    """One runner, as far as entities are concerned."""

    def __init__(self, crowd: Crowd, random: Random, faults: testing.StorageFaults) -> None:
        self.crowd = crowd
        self.random = random
        self.served = Served()
        own = testing.StorageFaults(
            before_commit=partial(self._before_commit, faults),
            after_commit=faults.after_commit,
            latency_s=faults.latency_s,
        )
        self.store = MemoryStore(clock=crowd.clock, tables=crowd.tables, faults=own)
        self.taking: set[int] = set()
        self.undecided: dict[int, Address] = {}
        self.alive = True

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.runner_id = await self.store.membership.register(Registration("", "1", (), ("default",), 1.0, 6_000_000))
        self.wheel = DeadlineWheel(loop)
        journal = self.store.journal
        self.group: Lanes[CommitItem] = Lanes(
            lambda: GroupCommit(lambda batch: journal.commit(batch), loop=loop, splits=splits), 2, loop=loop
        )
        link = Link("crowd", self.crowd.app._link.run_blocking)
        self.engine = EntityEngine(
            Surroundings(
                types=self.crowd.app.entity_types,
                link=link,
                group=self.group,
                journal=journal,
                reader=self.store.messages,
                ids=IdPool(self.store.ids.allocate, block=64),
                clock=self.crowd.clock,
                random=self.random,
                wheel=self.wheel,
                metrics=MetricsService(),
                settings=self.crowd.app.settings.entities,
                shard_of=self.crowd.shard_of,
                runner_id=self.runner_id,
                loop=loop,
                territory=self.served,
            )
        )
        link.open(self.engine.door)
        self.engine.door.elsewhere = cast(Elsewhere, self.crowd)
        self.inbox = Periodic("inbox", self.take_inbox, every_s=0.05)
        self.engine.door.inbox_left = self.inbox.wake
        await self.engine.start()
        await self.inbox.start()

    async def take_inbox(self) -> None:
        rows = await self.store.inbox_reader.inbox(limit=1000, shards=self.engine.shards.held)
        for row in [row for row in rows if row.id not in self.taking]:
            entry = decode_entry(row.kind, row.body)
            assert isinstance(entry, MessageRow)
            if entry.address in self.undecided.values():
                continue
            self.taking.add(row.id)
            try:
                stays = await self.engine.inbound.adopt(entry, Take(row.id), partial(self._again, row.id))
                if stays is Stays.UNDECIDED:
                    self.undecided[row.id] = entry.address
                if stays is not None:
                    continue
            except FencedOut:
                return  # dead and not buried yet: to try again at once would leave no moment for that
            except MessageError:
                self.inbox.wake()
            self.taking.discard(row.id)

    def _again(self, row_id: int) -> None:
        self.taking.discard(row_id)
        self.undecided.pop(row_id, None)
        self.inbox.wake()

    async def give(self, shards: Collection[int], timeout_s: float) -> None:
        self.served.shards.difference_update(shards)
        await asyncio.sleep(self.random.choice([0, 0.01]))
        await self.engine.release(shards, timeout_s=timeout_s)
        assert not [one for one in self.engine.manager.live.values() if one.shard in shards]

    async def take(self, shards: Collection[int]) -> None:
        while True:
            try:
                await self.engine.adopt(shards)
                break
            except MessageError:
                await asyncio.sleep(0.1)
        await self.take_inbox()
        self.served.shards.update(shards)

    async def be_reaped(self) -> None:
        """From here on its commits are refused, which it does not know yet."""
        await self.store.membership.leave(self.runner_id)
        self.alive = False

    async def die(self) -> None:
        """It hears of having been reaped, some time after."""
        await asyncio.sleep(self.random.choice([0, 0.01, 0.2]))
        self.served.shards.clear()
        await self.inbox.stop()
        self.group.abandon(RunnerNotRegistered("reaped"))
        await self.engine.abandon()
        await self.close()

    async def stop(self) -> None:
        await self.inbox.stop()
        await self.engine.drain(1.0)
        await self.engine.stop()
        await self.close()

    async def close(self) -> None:
        await self.group.close()
        self.wheel.close()
        await self.store.close()

    def _before_commit(self, faults: testing.StorageFaults, units: Sequence[Unit]) -> None:
        faults.before_commit(units)
        if not self.alive:
            return  # the fence refuses it
        for row in (row for unit in units for row in unit.rows):
            if isinstance(row, MessageRow | StateRow | DoneRow) and not isinstance(row, InboxRow):
                owner = self.crowd.owners[row.shard]
                if owner is not self:
                    self.crowd.trespasses.append(f"{row} was written by a runner that has handed its shard over")


class Crowd:
    """The members, who owns what, and the way to it. An App's node, and what its members call elsewhere."""

    def __init__(self, app: App, seed: int, faults: testing.StorageFaults) -> None:
        self.app = app
        self.random = Random(seed)
        self.faults = faults
        self.loop = asyncio.get_running_loop()
        self.clock = LoopClock(self.loop)
        self.tables = Tables()
        self.tables.shared = True
        self.members: list[Member] = []
        self.owners: dict[int, Member] = {}
        self.moves = 0
        self.trespasses: list[str] = []

    @property
    def entities(self) -> Door:
        return cast(Door, self)

    def shard_of(self, address: Address) -> int:
        return shard_of(*address, SHARDS)

    async def start(self, count: int) -> None:
        for _ in range(count):
            await self.join()
        for shard in range(SHARDS):
            await self._take(self.random.choice(self.members), [shard])

    async def join(self) -> None:
        member = Member(self, self.random, self.faults)
        await member.start()
        self.members.append(member)

    async def move_some(self) -> None:
        """Some shards of one member go to another."""
        giver, taker = self.random.sample(self.members, 2)
        owned = [shard for shard, owner in self.owners.items() if owner is giver]
        shards = self.random.sample(owned, self.random.randint(0, len(owned)))
        await giver.give(shards, self.random.choice([0.0, 0.005, 1.0]))
        self.moves += len(shards)
        await self._take(taker, shards)

    async def kill_one(self) -> None:
        """One member is reaped; the others own its shards before it knows."""
        dead = self.members.pop(self.random.randrange(len(self.members)))
        orphans = [shard for shard, owner in self.owners.items() if owner is dead]
        await dead.be_reaped()
        dying = asyncio.ensure_future(dead.die())
        for shard in orphans:
            await self._take(self.random.choice(self.members), [shard])
        await dying
        await self.join()

    async def _take(self, member: Member, shards: Collection[int]) -> None:
        self.owners.update(dict.fromkeys(shards, member))
        await member.take(shards)

    # The way to an entity.

    async def call(self, address: Address, *args: Any) -> Any:
        return await self._at_owner(self.shard_of(address), lambda door: door.call(address, *args))

    async def call_durable(self, address: Address, *args: Any) -> Any:
        return await self._at_owner(self.shard_of(address), lambda door: door.call_durable(address, *args))

    async def send(self, address: Address, *args: Any) -> Any:
        return await self._at_owner(self.shard_of(address), lambda door: door.send(address, *args))

    def stream(self, address: Address, *args: Any) -> AsyncIterator[Any]:
        return self.owners[self.shard_of(address)].engine.door.stream(address, *args)

    async def cancel_timer(self, address: Address, name: str) -> bool:
        return bool(await self._at_owner(self.shard_of(address), lambda door: door.cancel_timer(address, name)))

    async def outcome(self, message_id: int, timeout_s: float, *, shard: int | None = None) -> Any:
        row = self.tables.messages.rows.get(message_id) or self.tables.done.rows.get(message_id)
        where = shard if row is None else row.shard
        if where is None:
            raise EntityNotAssignedToRunner("nobody knows it", executed="unknown")
        return await self._at_owner(where, lambda door: door.result(message_id, timeout_s))

    async def message_result(self, message_id: int, timeout: float | None) -> Any:
        return await self.outcome(message_id, timeout or CALL_TIMEOUT_S)

    async def _at_owner(self, shard: int, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        until = self.loop.time() + CALL_TIMEOUT_S
        while self.loop.time() < until:
            member = self.owners.get(shard)
            if member is not None and member.served.serves(shard):
                try:
                    return await ask(member.engine.door)
                except (EntityNotAssignedToRunner, RunnerNotRegistered) as error:
                    if error.executed != "no":
                        raise
            await asyncio.sleep(0.01)
        raise RunnerUnavailable("no owner in time")

    # The rest of what an App asks of its node.

    async def dead_messages(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[Any]:
        return await self.members[0].engine.letters.page(entity_type=entity_type, limit=limit, after=after)

    async def drain(self) -> None:
        """Members drain when they stop."""

    async def stop(self) -> None:
        for member in self.members:
            await member.stop()
