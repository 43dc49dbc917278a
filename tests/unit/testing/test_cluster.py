"""Several runners in one test: they share the work, die, freeze, drain, and are cut off."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from holdfast import App, Entity, JobHandle, message, testing
from holdfast.errors import MessageError, RunnerNotRegistered, UsageError
from holdfast.model.cluster import RunnerState
from holdfast.testing.process import current

app = App("shop")
ran_on: list[str] = []


@dataclass
class Shelf:
    count: int = 0


@app.job
async def double(number: int) -> int:
    ran_on.append(_here())
    return 2 * number


@app.entity
class Stock(Entity[Shelf]):
    @message(durable=True)
    async def put(self, count: int) -> int:
        self.state.count += count
        return self.state.count

    @message
    async def where(self) -> str:
        return _here()

    @message(durable=True)
    async def pass_on(self, to: str) -> None:
        """Through the App's services, not through `self`."""
        ran_on.append(_here())
        await app.ref(Stock, to).put.send(1)
        await double.submit(4)

    @message
    async def ask(self, of: str) -> str:
        return await app.ref(Stock, of).where()

    @message(durable=True)
    async def put_slowly(self, count: int) -> int:
        await asyncio.sleep(2)
        self.state.count += count
        return self.state.count

    @message(readonly=True)
    async def count(self) -> int:
        return self.state.count


def _here() -> str:
    process = current()
    return "the test" if process is None else process.name


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    ran_on.clear()
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
async def t() -> AsyncIterator[testing.LiveCluster]:
    async with testing.cluster(app) as live:
        yield live


def stocks(count: int = 24) -> list[Stock]:
    return [app.ref(Stock, f"s{number}") for number in range(count)]


def owners(t: testing.LiveCluster, count: int = 24) -> Counter[int | None]:
    return Counter(t.owner_of(Stock, f"s{number}") for number in range(count))


async def test_the_runners_share_the_entities(t: testing.LiveCluster) -> None:
    assert set(owners(t)) == {1, 2, 3} == set(t.runners)
    hosts = await asyncio.gather(*(stock.where() for stock in stocks()))
    assert hosts == [f"runner-{t.owner_of(Stock, f's{number}')}" for number in range(24)]


async def test_a_handler_asks_and_sends_from_the_runner_it_is_on(t: testing.LiveCluster) -> None:
    """The App's refs and jobs are the handler's runner's, and join its transaction."""
    names = [f"s{number}" for number in range(24)]
    for name in names:
        await app.ref(Stock, name).pass_on("till")
        assert await app.ref(Stock, name).ask("till") == f"runner-{t.owner_of(Stock, 'till')}"
    await t.settle()
    assert await app.ref(Stock, "till").count() == 24
    assert Counter(ran_on[:24]).keys() == {"runner-1", "runner-2", "runner-3"}
    assert "the test" not in ran_on
    assert len(ran_on) == 48


async def test_after_a_crash_others_take_over_with_all_that_was_acknowledged(t: testing.LiveCluster) -> None:
    assert await asyncio.gather(*(stock.put(2) for stock in stocks())) == [2] * 24
    await t.crash(1)
    assert set(owners(t)) == {None, 2, 3}
    await t.settle()
    assert set(owners(t)) == {2, 3} == set(t.runners)
    assert await asyncio.gather(*(stock.count() for stock in stocks())) == [2] * 24


async def test_nothing_of_a_crashed_runner_reaches_the_store(t: testing.LiveCluster) -> None:
    receipts = [await stock.put_slowly.send(1) for stock in stocks()]
    await asyncio.sleep(1.5)
    for runner in (1, 2):
        await t.crash(runner)
    await asyncio.gather(*(app.cluster.result(receipt, timeout=120) for receipt in receipts))
    assert await asyncio.gather(*(stock.count() for stock in stocks())) == [1] * 24


async def test_a_frozen_runner_is_replaced_and_finds_that_out(t: testing.LiveCluster) -> None:
    before = t.runner_id(2)
    t.freeze(2)
    assert await asyncio.gather(*(stock.put(1) for stock in stocks())) == [1] * 24
    await t.settle()
    assert set(owners(t)) == {1, 3}
    t.thaw(2)
    await t.settle()
    assert set(owners(t)) == {1, 2, 3}
    assert t.runner_id(2) > before
    assert await asyncio.gather(*(stock.count() for stock in stocks())) == [1] * 24


async def test_a_frozen_runner_does_nothing_at_all(t: testing.LiveCluster) -> None:
    name = next(name for name in (f"s{n}" for n in range(24)) if t.owner_of(Stock, name) == 1)
    await app.ref(Stock, name).put_slowly.send(1)
    await asyncio.sleep(1)
    t.freeze(1)
    with pytest.raises(MessageError):
        await app.ref(Stock, name).where.opts(timeout=2)()
    t.thaw(1)
    assert await app.ref(Stock, name).where() == "runner-1"  # its lease has not ended


async def test_a_drained_runner_gives_its_shards_away_and_stays(t: testing.LiveCluster) -> None:
    await t.drain(3)
    assert set(owners(t)) == {1, 2}
    assert set(t.runners) == {1, 2, 3}
    await t.settle()


async def test_runners_come_and_go_under_way(t: testing.LiveCluster) -> None:
    assert await t.start() == 4
    await t.settle()
    assert set(owners(t)) == {1, 2, 3, 4}
    await t.stop(1)
    await t.settle()
    assert set(owners(t)) == {2, 3, 4} == set(t.runners)
    with pytest.raises(UsageError, match="no runner 1"):
        t.freeze(1)


async def test_a_runner_that_is_cut_off_is_replaced(t: testing.LiveCluster) -> None:
    await asyncio.gather(*(stock.put(1) for stock in stocks()))
    t.partition(1, store=True)
    await t.settle()
    assert set(owners(t)) == {2, 3}
    assert await asyncio.gather(*(stock.put(1) for stock in stocks())) == [2] * 24
    t.heal()
    await t.settle()
    assert set(owners(t)) == {1, 2, 3}


async def test_a_runner_that_is_cut_off_answers_nobody_in_its_own_process_either(t: testing.LiveCluster) -> None:
    """A web application, say, that hosts it: what it knows of the entity may be old."""
    name = next(name for name in (f"s{n}" for n in range(24)) if t.owner_of(Stock, name) == 1)
    stock, inside = app.ref(Stock, name), t._members[1].process
    await stock.put(1)

    async def ask() -> int:
        return await stock.count()

    assert await inside.run(ask()) == 1
    t.partition(1, store=True)
    assert await inside.run(ask()) == 1, "nobody can have taken its place yet"
    await t.settle()
    assert await stock.put(1) == 2
    with pytest.raises(RunnerNotRegistered):
        await inside.run(ask())
    t.heal()
    await t.settle()
    assert await inside.run(ask()) == 2


async def test_runners_that_do_not_hear_each_other_meet_in_the_store(t: testing.LiveCluster) -> None:
    """What one can't send to the other waits in the inbox; the test reaches neither directly."""
    t.partition(1, 2, 3)
    await asyncio.gather(*(stock.put.send(1) for stock in stocks()))
    await t.settle()
    t.heal()
    assert await asyncio.gather(*(stock.count() for stock in stocks())) == [1] * 24


async def test_a_wall_clock_that_is_a_day_off_changes_nothing(t: testing.LiveCluster) -> None:
    t.set_clock(1, 86_400)
    t.set_clock(2, -86_400)
    await t.clock.advance(30)
    await asyncio.gather(*(stock.put(1) for stock in stocks()))
    await t.settle()
    assert set(owners(t)) == {1, 2, 3}


async def test_jobs_run_where_their_shards_are(t: testing.LiveCluster) -> None:
    jobs: list[JobHandle[int]] = [await double.submit(number) for number in range(30)]
    assert [await job.result() for job in jobs] == [2 * number for number in range(30)]
    assert set(ran_on) == {"runner-1", "runner-2", "runner-3"}


async def test_each_runner_counts_for_itself(t: testing.LiveCluster) -> None:
    await asyncio.gather(*(stock.put(1) for stock in stocks()))
    received = [t.metrics(runner).registry.get_sample_value(*_received()) or 0 for runner in t.runners]
    assert sum(received) == 24
    assert all(received)


def _received() -> tuple[str, dict[str, str]]:
    return "cluster_messages_received_total", {"entity_type": "Stock", "operation": "receive"}


async def test_nothing_is_left_where_all_runners_are_gone() -> None:
    async with testing.cluster(app, runners=2) as t:
        await t.crash(1)
        await t.crash(2)
        assert t.runners == []
        await t.settle()
        assert await t.start() == 3
        await t.settle()
        assert set(owners(t)) == {3}


def test_a_seed_finds_the_same_run_again() -> None:
    async def run() -> list[float]:
        async with testing.cluster(app, seed=4) as t:
            loop, moments = asyncio.get_running_loop(), []

            async def put(stock: Stock) -> None:
                await stock.put(1)
                moments.append(loop.time())

            working = asyncio.gather(*(put(stock) for stock in stocks()))
            await t.crash(1)
            await working
            return moments

    assert testing.run(run(), seed=4) == testing.run(run(), seed=4)


async def test_a_cordoned_runner_that_was_reaped_comes_back_cordoned(t: testing.LiveCluster) -> None:
    """The wish belongs to the process, not to one registration of it."""
    await t.wish(2, RunnerState.CORDONED)
    await t.clock.advance(3)
    before = t.runner_id(2)
    t.freeze(2)
    await asyncio.gather(*(stock.put(1) for stock in stocks()))
    await t.settle()
    t.thaw(2)
    await t.settle()
    assert t.runner_id(2) > before
    assert set(owners(t)) == {1, 3}
    await t.wish(2, RunnerState.ACTIVE)
    await t.clock.advance(3)
    await t.settle()
    assert set(owners(t)) == {1, 2, 3}
