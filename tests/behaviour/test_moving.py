"""A runner gives shards up and takes them up again: what is stored goes on, what runs ends or is done again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast import Entity, Module, Settings, message, stream, testing
from holdfast.entities.engine import EntityEngine
from holdfast.errors import EntityNotAssignedToRunner, RunnerNotRegistered
from holdfast.model.address import Address
from holdfast.settings import EntitySettings

from .conftest import Hosting, hosting_on

shop = Module()
began: list[str] = []
failing: dict[str, int] = {}


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)


@shop.job
async def run(line: str) -> None:
    began.append(line)


@shop.entity(keep_alive=True)
class Queue(Entity[Log]):
    async def on_deactivate(self) -> None:
        began.append(f"{self.id} ends")

    @message(durable=True, max_deliveries=6)
    async def put(self, line: str) -> int:
        began.append(line)
        self.state.lines.append(line)
        if failing.get(line, 0) > 0:
            failing[line] -= 1
            raise LookupError(line)
        return len(self.state.lines)

    @message(durable=True)
    async def slow(self, line: str, seconds: float) -> int:
        began.append(line)
        await asyncio.sleep(seconds)
        self.state.lines.append(line)
        return len(self.state.lines)

    @message
    async def nap(self, line: str, seconds: float) -> int:
        began.append(line)
        await asyncio.sleep(seconds)
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(durable=True)
    async def forward(self, to: str, line: str, seconds: float) -> None:
        await self.ref(Queue, to).put.send(line)
        await self.ref(Queue, to).put.opts(delay=60.0).send(f"{line} later")
        await self.ref(Queue, to).put.opts(every=100.0, name="tick").send(f"{line} tick")
        began.append("forwarding")
        await asyncio.sleep(seconds)

    @message(durable=True)
    async def submit_one(self, line: str) -> None:
        await self.submit(run, line)

    @message(durable=True)
    async def insert(self, line: str, seconds: float) -> None:
        async with self.transaction() as transaction:
            await transaction.execute("CREATE TABLE IF NOT EXISTS seen (line TEXT)")
            await transaction.execute("INSERT INTO seen VALUES (?)", line)
            began.append(line)
            await asyncio.sleep(seconds)
        self.state.lines.append(line)

    @message(readonly=True)
    async def show(self) -> list[str]:
        return self.state.lines

    @stream
    async def read(self) -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
        finally:
            began.append("stream closed")

    @stream(exclusive=True)
    async def take(self) -> AsyncIterator[int]:
        for number in range(3):
            self.state.lines.append(str(number))
            yield number


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    began.clear()
    failing.clear()
    yield


def node_of(t: testing.LiveRunner) -> Any:
    return t._node


def engine_of(t: testing.LiveRunner) -> EntityEngine:
    return node_of(t)._incarnation.entities  # type: ignore[no-any-return]


def shard_of(t: testing.LiveRunner, entity_id: str) -> int:
    return engine_of(t).shards.of(Address("Queue", entity_id))


def others_shard(t: testing.LiveRunner, entity_id: str) -> str:
    """The id of an entity that does not share the shard of this one."""
    return next(n for n in map(str, range(100)) if shard_of(t, n) != shard_of(t, entity_id))


async def away(t: testing.LiveRunner, entity_id: str, timeout_s: float = 30.0) -> int:
    shard = shard_of(t, entity_id)
    await engine_of(t).release([shard], timeout_s=timeout_s)
    assert not [one for one in engine_of(t).manager.live.values() if one.shard == shard]
    return shard


async def begun(line: str) -> None:
    while line not in began:  # noqa: ASYNC110 - a list is what handlers share with tests
        await asyncio.sleep(0.01)


async def test_what_is_gone_is_refused_and_state_is_found_again(hosting: Hosting) -> None:
    """An entity that is kept alive moves too, says goodbye, and the others stay."""
    async with hosting(shop) as (app, t):
        other = others_shard(t, "q")
        assert await app.ref(Queue, "q").put("a") == await app.ref(Queue, other).put("b") == 1
        shard = await away(t, "q")
        assert "q ends" in began and f"{other} ends" not in began
        assert app.metrics.value("cluster_entity_deactivations_total", entity_type="Queue", reason="moved") == 1
        for ask in (app.ref(Queue, "q").show(), app.ref(Queue, "q").put("c"), app.ref(Queue, "q").put.send("c")):
            with pytest.raises(EntityNotAssignedToRunner) as refused:
                await ask
            assert refused.value.executed == "no"
        assert await app.ref(Queue, other).show() == ["b"]
        await engine_of(t).adopt([shard])
        assert await app.ref(Queue, "q").show() == ["a"]


async def test_what_waits_behind_a_retry_goes_on_in_order(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        failing["b"] = 2
        queue = app.ref(Queue, "q")
        receipts = [await queue.put.send(line) for line in "abcd"]
        shard = await away(t, "q")
        await t.clock.advance(30)
        assert began.count("b") == 1 and "c" not in began
        await engine_of(t).adopt([shard])
        await queue.put.send("e")
        await t.clock.advance(30)
        assert await queue.show() == ["a", "b", "c", "d", "e"]
        assert [await app.cluster.result(receipt) for receipt in receipts] == [1, 2, 3, 4]


async def test_what_is_due_later_waits_for_the_next_owner(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        queue = app.ref(Queue, "q")
        await queue.put.opts(delay=10.0).send("late")
        await queue.put.opts(every=100.0, name="tick").send("tick")
        shard = await away(t, "q")
        await t.clock.advance(150)
        assert not [line for line in began if line in ("late", "tick")]
        await engine_of(t).adopt([shard])
        await t.settle()
        assert sorted(await queue.show()) == ["late", "tick"]
        await t.clock.advance(100)
        assert sorted(await queue.show()) == ["late", "tick", "tick"]


async def test_a_handler_may_end_before_its_entity_leaves(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        calls = [asyncio.ensure_future(app.ref(Queue, "q").nap("a", 5.0))]
        await begun("a")
        calls.append(asyncio.ensure_future(app.ref(Queue, "q").nap("b", 5.0)))
        await asyncio.sleep(0.1)
        shard = await away(t, "q")
        assert await calls[0] == 1
        with pytest.raises(EntityNotAssignedToRunner) as refused:
            await calls[1]
        assert refused.value.executed == "no" and "b" not in began
        await engine_of(t).adopt([shard])
        assert await app.ref(Queue, "q").show() == ["a"]


async def test_a_handler_that_takes_too_long_is_delivered_again_by_the_next_owner(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Queue, "q").slow.send("a", 20.0)
        call = asyncio.ensure_future(app.ref(Queue, "q").nap("b", 20.0))
        await begun("a")
        shard = await away(t, "q", timeout_s=1.0)
        with pytest.raises(EntityNotAssignedToRunner):
            await call
        await engine_of(t).adopt([shard])
        assert await app.cluster.result(receipt) == 1
        assert began.count("a") == 2
        assert await app.ref(Queue, "q").show() == ["a"]


async def test_a_running_volatile_call_that_is_cut_off_may_have_been_executed(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        call = asyncio.ensure_future(app.ref(Queue, "q").nap("b", 20.0))
        await begun("b")
        shard = await away(t, "q", timeout_s=1.0)
        with pytest.raises(EntityNotAssignedToRunner) as cut:
            await call
        assert cut.value.executed == "unknown"
        await engine_of(t).adopt([shard])
        assert await app.ref(Queue, "q").show() == []


@pytest.mark.parametrize("staged_before", [True, False])
async def test_what_a_handler_sends_to_a_shard_that_has_left_waits_in_the_inbox(
    hosting: Hosting, staged_before: bool
) -> None:
    async with hosting(shop) as (app, t):
        sender = others_shard(t, "q")
        if staged_before:  # it leaves between the send and the commit
            forwarding = asyncio.ensure_future(app.ref(Queue, sender).forward("q", "a", 5.0))
            await begun("forwarding")
            shard = await away(t, "q")
            await forwarding
        else:
            shard = await away(t, "q")
            await app.ref(Queue, sender).forward("q", "a", 0.0)
        left = await node_of(t)._store.inbox_reader.inbox(limit=10)
        assert [row.shard for row in left] == [shard] * 3
        await t.clock.advance(1)
        assert "a" not in began
        await engine_of(t).adopt([shard])
        engine_of(t).door.inbox_left()
        await t.clock.advance(1)
        assert await app.ref(Queue, "q").show() == ["a"]
        await t.clock.advance(120)
        assert sorted(await app.ref(Queue, "q").show()) == ["a", "a later", "a tick"]


async def test_a_job_that_a_handler_submits_while_the_lease_has_lapsed_runs_and_is_counted(hosting: Hosting) -> None:
    """The lease may have been renewed by the time of the commit."""
    async with hosting(shop) as (app, t):
        holdings = node_of(t)._incarnation.jobs._holdings
        territory, holdings._territory = holdings._territory, SimpleNamespace(serves=lambda shard: False)
        await app.ref(Queue, "q").submit_one("ran")
        holdings._territory = territory
        await t.settle()
        assert began == ["ran"]
        enqueued = [value for (name, _), value in app.metrics.snapshot().items() if name == "jobs_enqueued_total"]
        assert sum(enqueued) == 1


async def test_open_streams_end_with_the_move(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        async with aclosing(app.ref(Queue, "q").read()) as numbers:  # type: ignore[type-var]
            assert await anext(numbers) == 0
            shard = await away(t, "q")
            assert "stream closed" in began
            with pytest.raises(EntityNotAssignedToRunner) as moved:
                await anext(numbers)
            assert moved.value.executed == "unknown"
        await engine_of(t).adopt([shard])
        async with aclosing(app.ref(Queue, "q").take()) as numbers:  # type: ignore[type-var]
            assert await anext(numbers) == 0
            shard = await away(t, "q", timeout_s=1.0)
            with pytest.raises(EntityNotAssignedToRunner):
                while True:
                    await anext(numbers)
        await engine_of(t).adopt([shard])
        assert await app.ref(Queue, "q").show() == []


@pytest.mark.parametrize(("timeout_s", "times"), [(30.0, 1), (1.0, 2)])
async def test_a_handlers_own_transaction_counts_as_running(hosting_sql: Hosting, timeout_s: float, times: int) -> None:
    async with hosting_sql(shop) as (app, t):
        receipt = await app.ref(Queue, "q").insert.send("a", 8.0)
        await begun("a")
        shard = await away(t, "q", timeout_s=timeout_s)
        await engine_of(t).adopt([shard])
        await app.cluster.result(receipt)
        assert began.count("a") == times
        assert await app.ref(Queue, "q").show() == ["a"]


async def test_more_due_at_one_moment_than_a_page_holds_is_all_delivered(hosting: Hosting) -> None:
    settings = Settings(entities=EntitySettings(page_rows=5))
    async with hosting(shop, settings=settings) as (app, t):
        for number in range(3):
            for line in "abcdefg":
                await app.ref(Queue, str(number)).put.opts(delay=10.0).send(line)
        shards = engine_of(t).shards.held
        await engine_of(t).release(shards, timeout_s=1.0)
        await engine_of(t).adopt(shards)
        await t.clock.advance(20)
        for number in range(3):
            assert sorted(await app.ref(Queue, str(number)).show()) == list("abcdefg")


async def test_a_shard_that_is_given_away_twice_at_once_is_gone_when_its_handlers_are(hosting: Hosting) -> None:
    """A runner that stops may be giving it away already; neither may say that it has gone before it has."""
    async with hosting(shop) as (app, t):
        running = asyncio.ensure_future(app.ref(Queue, "q").nap("a", 5.0))
        await begun("a")
        began_at = asyncio.get_running_loop().time()
        shard = shard_of(t, "q")

        async def given_away() -> float:
            await engine_of(t).release([shard], timeout_s=30.0)
            return asyncio.get_running_loop().time() - began_at

        assert min(await asyncio.gather(given_away(), given_away())) > 4.9
        assert await running == 1
        assert began.count("q ends") == 1


async def test_an_engine_that_has_lost_its_lease_lets_go_at_once(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Queue, "q").slow.send("a", 20.0)
        await begun("a")
        running = asyncio.ensure_future(app.ref(Queue, others_shard(t, "q")).nap("b", 20.0))
        await begun("b")
        waiting = [
            asyncio.ensure_future(app.ref(Queue, "q").show()),
            asyncio.ensure_future(app.cluster.result(receipt)),
        ]
        await asyncio.sleep(0.1)
        await engine_of(t).abandon()
        heard = await asyncio.gather(running, *waiting, return_exceptions=True)
        assert [type(error) for error in heard] == [RunnerNotRegistered] * 3
        assert [getattr(error, "executed", None) for error in heard] == ["unknown", "no", "unknown"]
        with pytest.raises(RunnerNotRegistered):
            await app.ref(Queue, "q").put("c")
        await t.crash()
        assert await app.cluster.result(receipt) == 1


async def test_a_shard_leaves_only_once_it_is_known_what_of_it_is_written() -> None:
    """A message that is just being stored is stored, and its sender knows, before somebody else may own the shard."""
    slow = testing.StorageFaults(latency_s=lambda: 1.0)
    async with hosting_on("memory:")(shop, faults=slow) as (app, t):
        sending = asyncio.ensure_future(app.ref(Queue, "q").put.opts(delay=100.0).send("a"))
        await asyncio.sleep(0.5)
        await away(t, "q")
        (stored,) = node_of(t)._store.tables.messages.rows.values()
        assert (await sending).message_id == stored.id
