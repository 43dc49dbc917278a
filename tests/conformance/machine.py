"""A store and a plain model of it, side by side on one loop and one clock, and all that can be compared of them.

The steps that are taken stand in `machine_ownership` and `machine_work`. After each of them both have to say the same.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from holdfast.errors import Conflict, FencedOut
from holdfast.model.job import StartRecord, unpack_attempts
from holdfast.ports.store import RunnerStore
from tests.support.membership import LEASE_US

from .conftest import ManualClock, Place, commit
from .machine_rows import CARTS, SHARDS
from .model import Batch, Model, by_id, waits_for_an_operator
from .rows import REGISTRATION

T = TypeVar("T")

EVER = 2**60


class SideBySide(RuleBasedStateMachine):
    """One store of the kind under test, opened by two runners where it is shared."""

    shared: bool
    every_id_each_time: bool
    """Whether reads are cheap enough to ask for every row by its id after every step."""
    place_in: Callable[[AsyncExitStack, ManualClock], Awaitable[Place]]
    met: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.clock = ManualClock()
        self.model = Model(shared=self.shared, shards=SHARDS)
        self.stores: list[RunnerStore] = []
        self.runners: list[int | None] = []
        self.ids_below = 1

    def do(self, step: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await step

        return self.loop.run(awaited())

    @initialize()
    def begin(self) -> None:
        self.place = self.do(type(self).place_in(self.stack, self.clock))
        for index in range(2 if self.shared else 1):
            self.stores.append(self.do(self.place.open()))
            self.runners.append(None)
            self.enter(index)
        self.do(self.stores[0].membership.ensure_groups({"default": (SHARDS, ["Cart"])}))

    def enter(self, index: int) -> None:
        runner = self.do(self.stores[index].membership.register(REGISTRATION))
        assert runner == self.model.register(self.runners[index], self.clock.now, LEASE_US)
        self.runners[index] = runner

    def of(self, index: int) -> tuple[RunnerStore, int | None]:
        index %= len(self.stores)
        return self.stores[index], self.runners[index]

    def commit(self, index: int, batch: Batch) -> None:
        store, runner = self.of(index)
        expected = self.model.commit(runner, batch)
        assert self.do(outcome_of(store, batch)) == expected, batch
        self.met[expected if isinstance(expected, str) else "conflict"] += 1

    @invariant()
    def both_say_the_same(self) -> None:
        self.do(self.compare(every_id=self.every_id_each_time))

    def teardown(self) -> None:
        failed = sys.exc_info()[0] is not None  # which a comparison would hide behind an error of its own
        try:
            if self.stores and not failed:
                self.do(self.compare(every_id=True))
        finally:
            for store in self.stores:
                self.do(store.close())
            self.do(self.stack.aclose())
            self.loop.close()

    async def compare(self, *, every_id: bool) -> None:
        """Everything, as the store that was opened last reads it."""
        store, here = self.stores[-1], self.model.contents
        pending = await store.messages.pending(after=0, limit=99, due_before=EVER)
        assert list(pending) == by_id(here.messages.values())
        found = await store.messages.states_of("Cart", after="", limit=99)
        states = sorted(
            (entity_id, (row.version, row.schema, row.state)) for (_, entity_id), row in here.states.items()
        )
        assert list(found) == states
        assert list(await store.messages.dead(after=0, limit=99)) == sorted(here.letters.values())
        assert list(await store.inbox_reader.inbox(limit=99)) == sorted(here.inbox.values())
        assert list(await store.jobs.starts()) == sorted(here.starts.values())
        undealt = [job for _, job in sorted(here.archive.items()) if waits_for_an_operator(job)]
        assert list(await store.jobs.dead(after=0, limit=99)) == undealt
        assert [row.runner_id for row in await store.membership.runners()] == sorted(self.model.leases)
        owned = {row.number: (row.runner_id, row.epoch) for row in await store.membership.shards()}
        assert owned == (self.model.shards if owned else {})
        for number in range(1, 8) if every_id else []:
            assert await store.messages.done(number) == here.done.get(number)
            assert await store.jobs.live(number) == here.jobs.get(number)
            assert await store.jobs.archived(number) == here.archive.get(number)

    async def read_shards(self, store: RunnerStore, wanted: set[int]) -> None:
        here, now = self.model.contents, self.clock.now
        stored = [row for row in by_id(here.messages.values()) if row.shard in wanted]
        pending = await store.messages.pending(after=0, limit=99, due_before=now, shards=wanted)
        assert list(pending) == [row for row in stored if row.due_at <= now]
        coming = await store.messages.upcoming(due_after=now, limit=99, shards=wanted)
        assert list(coming) == sorted((row for row in stored if row.due_at > now), key=lambda row: (row.due_at, row.id))
        live = [row for _, row in sorted(here.jobs.items()) if row.shard in wanted]
        delayed = await store.jobs.upcoming(due_after=0, id_after=0, limit=99, shards=wanted)
        assert list(delayed) == sorted((row for row in live if row.due_at), key=lambda row: (row.due_at, row.id))
        for shard in wanted:
            found = await store.jobs.available(shard=shard, priority=2, after=0, limit=99, due_before=now)
            assert list(found) == [row for row in live if row.shard == shard and row.due_at <= now]
        filled = await store.jobs.filled([(shard, 2, 0) for shard in wanted], due_before=now)
        assert {shard for shard, _ in filled} == {row.shard for row in live if row.due_at <= now}
        left = await store.inbox_reader.inbox(limit=99, shards=wanted)
        assert list(left) == [row for row in sorted(here.inbox.values()) if row.shard in wanted]
        ours = {row.id for row in live}
        assert list(await store.jobs.starts(shards=wanted)) == speaking_of(ours, sorted(here.starts.values()))
        ledger = await store.ledger.ledger()
        assert (ledger.entities_stored, ledger.inbox) == (len(here.states), len(here.inbox))
        for address in CARTS:
            mine = [row for row in by_id(here.messages.values()) if row.address == address]
            named = next((row for row in mine if row.name == "tick"), None)
            assert await store.messages.timer(address, "tick") == named
            keyed = next((row for row in mine if row.key == "k"), None)
            assert await store.messages.by_key(address, "checkout", "k") == keyed


def speaking_of(live: set[int], records: Sequence[StartRecord]) -> list[StartRecord]:
    return [record for record in records if live & {job for job, _ in unpack_attempts(record.attempts)}]


async def outcome_of(store: RunnerStore, batch: Batch) -> str | int:
    try:
        await commit(store, *(tuple(rows) for rows in batch))
    except Conflict as conflict:
        return conflict.unit_index
    except FencedOut:
        return "fenced"
    return "committed"
