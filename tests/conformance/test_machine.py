"""A machine of random steps against every store and against a plain model of it, which have to agree after each step.

Two runners on a shared store (one, again and again, on an embedded one) register, leave, die, reap, and hand shards
over, and commit what engines commit and what they would never commit: a batch that conflicts leaves nothing behind,
and who was fenced out writes nothing at all.

The steps are the same ones on every run. `HOLDFAST_EXAMPLES=2000 pytest tests/conformance/test_machine.py` looks
further, each time elsewhere; a failure prints what to paste above the test to have it again.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from holdfast.errors import Conflict, FencedOut
from holdfast.model.address import Address
from holdfast.model.inbox import InboxKind
from holdfast.model.job import EndStart, JobDiscard, JobReplay, StartRecord, unpack_attempts
from holdfast.model.message import Consume, DeadMessageEnd, InboxRow, MessageRetry, OutcomeKind, Take, TimerCancel
from holdfast.model.unit import Row
from holdfast.ports.store import RunnerStore
from tests.support.membership import LEASE_US, renew
from tests.support.postgres import emptied_schema, servers

from .conftest import ManualClock, MemoryPlace, Place, PostgresPlace, SharedMemoryPlace, SqlitePlace, commit
from .model import Batch, Model, by_id, waits_for_an_operator
from .rows import DEAD, DONE, END, JOB, MESSAGE, REGISTRATION, RETRY, STATE, start, unit

T = TypeVar("T")

SHARDS = 3
CARTS = [Address("Cart", f"c-{shard}") for shard in range(SHARDS)]
EVER = 2**60
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where a file's fsync costs nothing: this is about what the store says, not about power cuts."""
EXAMPLES = int(os.environ.get("HOLDFAST_EXAMPLES", "0"))

numbers = st.integers(1, 6)
shards = st.integers(0, SHARDS - 1)
some_shards = st.sets(shards)
times = st.sampled_from([0, 0, 5_000_000, 30_000_000])
keys = st.sampled_from([None, None, "k"])
who = st.integers(0, 1)
messages = st.builds(
    lambda number, shard, key, name, due_at: MESSAGE._replace(
        id=number, shard=shard, entity_id=CARTS[shard].entity_id, key=key, name=name, due_at=due_at
    ),
    numbers, shards, keys, st.sampled_from([None, None, "tick"]), times,
)  # fmt: skip
jobs = st.builds(
    lambda number, shard, key, group, due_at: JOB._replace(id=number, shard=shard, key=key, group=group, due_at=due_at),
    numbers, shards, keys, st.sampled_from([None, "g"]), times,
)  # fmt: skip
any_row: st.SearchStrategy[Row] = st.one_of(
    messages,
    jobs,
    st.builds(Consume, numbers),
    st.builds(lambda number, due: MessageRetry(1, 0, due, "boom", number), numbers, times),
    st.builds(lambda shard: TimerCancel(*CARTS[shard], "tick"), shards),
    st.builds(lambda number, key, at: DONE._replace(id=number, key=key, finished_at=at), numbers, keys, times),
    st.builds(lambda number: DEAD._replace(id=number), numbers),
    st.builds(DeadMessageEnd, numbers),
    st.builds(
        lambda shard, version: STATE._replace(shard=shard, entity_id=CARTS[shard].entity_id, version=version),
        shards, numbers,
    ),
    st.builds(lambda number, shard: InboxRow(number, shard, InboxKind.JOB, b"row", 1_000), numbers, shards),
    st.builds(Take, numbers),
    st.builds(lambda number, old, new: RETRY._replace(id=number, expected=old, attempt=old + new), numbers, who, who),
    st.builds(
        lambda number, old, state: END._replace(id=number, expected=old, state=state),
        numbers, who, st.sampled_from(["completed", "dead"]),
    ),
    st.builds(JobReplay, st.just(50), numbers),
    st.builds(JobDiscard, st.just(60), numbers),
    st.builds(lambda number, job, executor: start(number, (job, 1))._replace(executor=executor), numbers, numbers, who),
    st.builds(EndStart, numbers),
)  # fmt: skip
batches = st.lists(st.lists(any_row, min_size=1, max_size=2), min_size=1, max_size=3)


class Machine(RuleBasedStateMachine):
    """One store of the kind under test, with everything on one loop and one clock."""

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
            self.register(index)
        self.do(self.stores[0].membership.ensure_groups({"default": (SHARDS, ["Cart"])}))

    def teardown(self) -> None:
        try:
            if self.stores:
                self.do(self.compare(every_id=True))
        finally:
            for store in self.stores:
                self.do(store.close())
            self.do(self.stack.aclose())
            self.loop.close()

    @rule(index=who)
    def register(self, index: int) -> None:
        index %= len(self.stores)
        runner = self.do(self.stores[index].membership.register(REGISTRATION))
        assert runner == self.model.register(self.runners[index], self.clock.now, LEASE_US)
        self.runners[index] = runner
        self.check()

    @rule(index=who, back=st.sampled_from([True, True, True, False]))
    def leave(self, index: int, back: bool) -> None:
        store, runner = self.of(index)
        if runner is not None:
            self.do(store.membership.leave(runner))
            self.model.leave(runner)
        self.check()
        if back:
            self.register(index)

    @rule(index=who, back=st.sampled_from([True, True, True, False]))
    def die_and_open_again(self, index: int, back: bool) -> None:
        index %= len(self.stores)
        self.do(self.stores[index].close())
        self.stores[index], self.runners[index] = self.do(self.place.open()), None
        self.check()
        if back:
            self.register(index)

    @rule(
        by=st.sampled_from([1_000_000, LEASE_US // 2, LEASE_US + 1]),
        living=st.sampled_from([(0, 1), (0,), (1,), ()]),
        reaper=st.one_of(st.none(), who),
    )
    def wait(self, by: int, living: Sequence[int], reaper: int | None) -> None:
        self.clock.now += by
        for index in living:
            store, runner = self.of(index)
            if runner is None:
                continue
            renewal = self.do(renew(store, runner))
            assert (renewal is not None) == (runner in self.model.leases)
            if renewal is not None:
                self.model.leases[runner] = self.clock.now + LEASE_US
        self.check()
        if reaper is not None and self.shared:  # an embedded store's runner is alone, however late it is
            self.reap(reaper)

    def reap(self, index: int) -> None:
        reaped = self.do(self.of(index)[0].membership.reap())
        assert set(reaped) == self.model.reap(self.clock.now)
        self.met["reaped"] += len(reaped)
        self.check()

    @rule(index=who, wanted=some_shards)
    def claim(self, index: int, wanted: set[int]) -> None:
        store, runner = self.of(index)
        if runner is None:
            return
        try:
            rows = self.do(store.membership.claim(runner, wanted))
        except FencedOut:
            assert runner not in self.model.leases
            self.met["claim fenced"] += 1
        else:
            assert runner in self.model.leases
            assert [(row.number, row.runner_id, row.epoch) for row in rows] == self.model.move(wanted, 0, runner)
            self.met["claimed"] += len(rows)
        self.check()

    @rule(index=who, wanted=some_shards)
    def hand_over(self, index: int, wanted: set[int]) -> None:
        (store, giver), (_, to) = self.of(index), self.of(index + 1)
        if giver is None or to is None or giver == to:
            return
        moved = self.do(store.membership.hand_over(giver, wanted, to))
        expected = self.model.hand_over(giver, wanted, to, self.clock.now)
        assert [(row.number, row.runner_id, row.epoch) for row in moved] == expected
        self.met["handed over"] += len(moved)
        self.check()

    @rule(index=who, batch=batches)
    def commit_anything(self, index: int, batch: Batch) -> None:
        self.commit(index, batch)

    @rule(index=who, rows=st.lists(st.one_of(messages, jobs), min_size=1, max_size=3))
    def admit(self, index: int, rows: list[Row]) -> None:
        self.commit(index, [[row] for row in rows])

    @precondition(lambda self: self.model.contents.messages)
    @rule(index=who, data=st.data(), more=st.lists(any_row, max_size=1), end=st.sampled_from(["reply", "retry", "die"]))
    def handle_a_message(self, index: int, data: st.DataObject, more: list[Row], end: str) -> None:
        message = data.draw(st.sampled_from(by_id(self.model.contents.messages.values())))
        number, entity_id, deliveries = message.id, message.entity_id, message.deliveries + 1
        before = self.model.contents.states.get(message.address)
        state = STATE._replace(shard=message.shard, entity_id=entity_id, version=before.version + 1 if before else 1)
        done = DONE._replace(id=number, shard=message.shard, entity_id=entity_id, key=message.key)
        match end:
            case "reply":
                rows: list[Row] = [Consume(number), done, state, *more]
            case "retry":
                due_at = self.clock.now + 1_000_000
                rows = [MessageRetry(deliveries, message.crashes, due_at, "boom", number)]
            case _:
                rows = [Consume(number), done._replace(kind=OutcomeKind.DEAD), DEAD._replace(id=number)]
        self.commit(index, [rows])

    @precondition(lambda self: self.model.contents.jobs)
    @rule(index=who, data=st.data(), end=st.sampled_from(["start", "completed", "dead", "retry", "give back"]))
    def run_a_job(self, index: int, data: st.DataObject, end: str) -> None:
        job = self.model.contents.jobs[data.draw(st.sampled_from(sorted(self.model.contents.jobs)))]
        match end:
            case "start":
                record = start(data.draw(numbers), (job.id, job.attempt + 1))
                row: Row = record._replace(executor=self.of(index)[1] or 0)
            case "completed" | "dead":
                row = END._replace(id=job.id, expected=job.attempt, state=end, finished_at=self.clock.now)
            case _:
                after = job.attempt + (end == "retry")
                row = RETRY._replace(id=job.id, expected=job.attempt, attempt=after, crashes=job.crashes)
        self.commit(index, [[row]])

    @precondition(lambda self: any(map(waits_for_an_operator, self.model.contents.archive.values())))
    @rule(index=who, data=st.data(), replay=st.booleans())
    def deal_with_a_dead_job(self, index: int, data: st.DataObject, replay: bool) -> None:
        dead = [job.id for job in self.model.contents.archive.values() if waits_for_an_operator(job)]
        number = data.draw(st.sampled_from(sorted(dead)))
        again = JOB._replace(id=data.draw(numbers), replay_of=number)
        self.commit(index, [[JobReplay(50, number), again] if replay else [JobDiscard(60, number)]])

    @rule(index=who, number=numbers, shard=shards)
    def leave_for_the_owner(self, index: int, number: int, shard: int) -> None:
        rows = [(number, shard, InboxKind.JOB, b"left"), (number + 1, shard, InboxKind.MESSAGE, b"left")]
        inbox = self.model.contents.inbox
        taken = number in inbox or number + 1 in inbox
        try:
            self.do(self.of(index)[0].inbox.leave(rows))
        except Conflict:
            assert taken
        else:
            assert not taken
            inbox.update({row[0]: InboxRow(row[0], shard, row[2], row[3], self.clock.now) for row in rows})
        self.check()

    @precondition(lambda self: self.model.contents.inbox)
    @rule(index=who, data=st.data(), moved=st.one_of(messages, jobs))
    def take_in(self, index: int, data: st.DataObject, moved: Row) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.contents.inbox)))
        self.commit(index, [[Take(number), moved]])

    @rule(index=who, batch=batches, commits=st.booleans())
    def commit_in_a_transaction(self, index: int, batch: Batch, commits: bool) -> None:
        """One unit in a transaction of its own, which blames nobody else."""
        store, runner = self.of(index)
        expected = self.model.commit(runner, batch[:1]) if commits else "rolled back"

        async def outcome() -> str | int:
            try:
                transaction = await store.journal.begin(timeout_s=60.0)
                if commits:
                    await transaction.commit(unit(*batch[0]))
                    return "committed"
                await transaction.rollback()
            except FencedOut:
                return "fenced" if commits else "rolled back"
            except Conflict:
                return 0
            return "rolled back"

        assert self.do(outcome()) == expected
        self.check()

    @rule(index=who, count=st.integers(1, 3))
    def take_ids(self, index: int, count: int) -> None:
        first = self.do(self.of(index)[0].ids.allocate(count))
        assert first >= self.ids_below
        self.ids_below = first + count

    @rule(index=who, before=st.just(EVER))
    def prune(self, index: int, before: int) -> None:
        pruned = self.do(self.of(index)[0].maintenance.prune(finished_before=before, limit=99))
        assert pruned == self.model.contents.prune(before)
        self.met["pruned"] += pruned
        self.check()

    @rule(index=who, wanted=some_shards)
    def read_by_shard(self, index: int, wanted: set[int]) -> None:
        self.do(self.read_shards(self.of(index)[0], wanted))

    def of(self, index: int) -> tuple[RunnerStore, int | None]:
        index %= len(self.stores)
        return self.stores[index], self.runners[index]

    def commit(self, index: int, batch: Batch) -> None:
        store, runner = self.of(index)
        expected = self.model.commit(runner, batch)
        assert self.do(outcome_of(store, batch)) == expected, batch
        self.met[expected if isinstance(expected, str) else "conflict"] += 1
        self.check()

    def check(self) -> None:
        self.do(self.compare(every_id=self.every_id_each_time))

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


def run(place_in: Callable[[AsyncExitStack, ManualClock], Awaitable[Place]], *, shared: bool, cheap: bool) -> None:
    met: Counter[str] = Counter()
    body = {"shared": shared, "every_id_each_time": cheap, "place_in": staticmethod(place_in), "met": met}
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        type("Machine", (Machine,), body),
        settings=settings(
            max_examples=EXAMPLES or (30 if cheap else 12),
            stateful_step_count=40,
            derandomize=not EXAMPLES,
            database=None,
            phases=[Phase.generate],
            print_blob=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    wanted = {"committed", "conflict", "fenced", "claimed"}
    wanted |= {"reaped"} if shared else set()
    assert wanted <= {name for name, count in met.items() if count}, met


@pytest.mark.parametrize("kind", ["memory", "shared memory", "sqlite"])
def test_a_store_in_this_process_is_what_the_model_says(kind: str) -> None:
    makers = {"memory": MemoryPlace, "shared memory": SharedMemoryPlace, "sqlite": SqlitePlace}

    async def place_in(stack: AsyncExitStack, clock: ManualClock) -> Place:
        folder = stack.enter_context(TemporaryDirectory(prefix="holdfast-", dir=IN_MEMORY))
        return makers[kind](Path(folder), clock)

    run(place_in, shared=kind == "shared memory", cheap=kind != "sqlite")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("server", servers())
def test_a_database_is_what_the_model_says(server: str, postgres_servers: Callable[[str], str]) -> None:
    url = postgres_servers(server)

    async def place_in(stack: AsyncExitStack, clock: ManualClock) -> Place:
        return PostgresPlace(await stack.enter_async_context(emptied_schema(url)), clock)

    run(place_in, shared=True, cheap=False)
