"""A client whose runner dies, drains, stands still or is not there: nothing acknowledged is lost, nothing doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.errors import (
    AlreadyCancelled,
    JobCancelled,
    JobDead,
    JobNotFound,
    KeyConflict,
    MessageError,
    RpcClientError,
    RunnerUnavailable,
    SendTimeout,
)
from holdfast.jobs.door import CancelOutcome
from holdfast.model.ids import JobId
from holdfast.model.inbox import InboxKind
from holdfast.storage import migrations
from holdfast.storage.open import open_client_store
from tests.integration.processes import RunnerProcess, runner_process
from tests.integration.shop import Cart, Till, app, double, fail_job

PATIENCE_S = 120.0
CARTS = 4
LAST = 10**9


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """A store that nobody has run yet: clients may come before the first runner."""
    url = f"sqlite:///{tmp_path}/shop.db"
    await migrations.apply(url)
    return url


@pytest.fixture
def runner(url: str) -> Iterator[RunnerProcess]:
    """Not started yet."""
    with runner_process(url) as process:
        yield process


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    """Asks again until it is so: for what another process does in its own time."""
    async with asyncio.timeout(PATIENCE_S):
        while not await seen():  # noqa: ASYNC110 - there is no event to wait for in another process
            await asyncio.sleep(0.01)


class Senders:
    """Tasks that each send ascending numbers to one of a few carts, with 16 on their way at any time."""

    def __init__(self) -> None:
        self.carts = [app.ref(Cart, f"c{number}") for number in range(CARTS)]
        self.acknowledged: list[list[int]] = [[] for _ in self.carts]
        self._next = [0] * CARTS
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._send(place % CARTS, place)) for place in range(16)]

    async def stop(self) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def acknowledged_more(self, count: int) -> None:
        wanted = self.total + count

        async def enough() -> bool:
            for task in self._tasks:
                if task.done():
                    await task  # which says why it sends no more
            return self.total >= wanted

        await until(enough)

    async def handled(self, cart: Cart) -> list[int]:
        """What the cart was told, once it was told all: a last message comes after what waits in the inbox."""
        await cart.note(LAST)
        numbers = await cart.numbers()
        assert numbers.pop() == LAST
        return numbers

    @property
    def total(self) -> int:
        return sum(map(len, self.acknowledged))

    async def _send(self, place: int, sender: int) -> None:
        while not self._over:
            number = self._next[place]
            self._next[place] += 1
            note = self.carts[place].note
            await (note.send(number) if sender % 2 else note(number))
            self.acknowledged[place].append(number)


async def test_kills_under_load_lose_and_double_nothing_and_keep_the_order(url: str, runner: RunnerProcess) -> None:
    runner.start()
    async with app.client(store=url):
        senders = Senders()
        senders.start()
        for _ in range(5):
            await senders.acknowledged_more(100)
            runner.kill()
            runner.begin()
            await asyncio.to_thread(runner.serving)
        await senders.acknowledged_more(100)
        await senders.stop()
        for cart, acknowledged in zip(senders.carts, senders.acknowledged, strict=True):
            handled = await senders.handled(cart)
            assert len(set(handled)) == len(handled), "a message was handled twice"
            assert set(acknowledged) <= set(handled), "an acknowledged message was lost"
            assert handled == sorted(handled), "messages overtook each other"


async def test_drains_under_load_lose_and_double_nothing(url: str, runner: RunnerProcess) -> None:
    runner.start()
    async with app.client(store=url):
        senders = Senders()
        senders.start()
        for _ in range(2):
            await senders.acknowledged_more(100)
            await asyncio.to_thread(runner.stop)
            await asyncio.to_thread(runner.start)
        await senders.acknowledged_more(100)
        await senders.stop()
        for cart, acknowledged in zip(senders.carts, senders.acknowledged, strict=True):
            handled = await senders.handled(cart)
            assert handled == sorted(set(handled))
            assert set(acknowledged) <= set(handled)


async def test_without_a_runner_sends_and_submits_wait_in_the_inbox(url: str, runner: RunnerProcess) -> None:
    async with app.client(store=url):
        cart = app.ref(Cart, "c")
        receipts = await asyncio.gather(*(cart.note.send(number) for number in range(50)))
        jobs = await app.jobs.submit_many([double.call(number) for number in range(50)])
        assert {receipt.duplicate for receipt in receipts} == {job.duplicate for job in jobs} == {None}
        await asyncio.to_thread(runner.start)
        assert await cart.note(50) == 51, "what was sent later came before what waits in the inbox"
        assert await cart.numbers() == list(range(51))
        assert await app.cluster.result(receipts[9]) == 10
        assert await asyncio.gather(*(job.result(timeout=PATIENCE_S) for job in jobs)) == [
            2 * number for number in range(50)
        ]


async def test_the_inbox_is_taken_without_any_client(url: str, runner: RunnerProcess) -> None:
    async with app.client(store=url):
        receipt = await app.ref(Cart, "c").note.send(1)
    await asyncio.to_thread(runner.start)
    async with app.client(store=url):
        assert await app.cluster.result(receipt) == 1


async def test_keys_are_decided_when_the_inbox_is_taken(url: str, runner: RunnerProcess) -> None:
    async with app.client(store=url):
        cart = app.ref(Cart, "c")
        first, same, other = [await cart.note.opts(key="k").send(number) for number in (1, 1, 2)]
        job, same_job, other_job = [await double.opts(key="k").submit(number) for number in (1, 1, 2)]
        await asyncio.to_thread(runner.start)
        assert await app.cluster.result(first) == await app.cluster.result(same) == 1
        with pytest.raises(KeyConflict, match="'k'"):
            await app.cluster.result(other)
        assert await cart.numbers() == [1]
        assert await job.result(timeout=PATIENCE_S) == await same_job.result(timeout=PATIENCE_S) == 2
        with pytest.raises(JobDead, match="other arguments"):
            await other_job.result(timeout=PATIENCE_S)


async def test_a_delay_and_a_timers_name_hold_through_the_inbox(url: str, runner: RunnerProcess) -> None:
    async with app.client(store=url):
        cart = app.ref(Cart, "c")
        await cart.note.opts(name="once", delay=3600.0).send(1)
        await cart.note.opts(name="once", delay=0.1).send(2)
        await asyncio.to_thread(runner.start)

        async def handled() -> bool:
            return await cart.numbers() == [2]

        await until(handled)


async def test_a_cancel_without_a_runner_waits_in_the_inbox(url: str, runner: RunnerProcess) -> None:
    async with app.client(store=url):
        await asyncio.to_thread(runner.start)
        stored = await double.opts(delay=3600.0).submit(1)
        await asyncio.to_thread(runner.stop)
        left = await double.opts(delay=3600.0).submit(2)
        for job in (stored, left):
            assert await app.jobs.cancel(job) is CancelOutcome.REQUESTED
        with pytest.raises(JobNotFound):
            await app.jobs.cancel(JobId("4611686018427387904"))
        await asyncio.to_thread(runner.start)
        for job in (stored, left):
            with pytest.raises(JobCancelled):
                await job.result(timeout=PATIENCE_S)


async def test_replays_and_discards_without_a_runner_wait_in_the_inbox(url: str, runner: RunnerProcess) -> None:
    async with app.client(store=url):
        await asyncio.to_thread(runner.start)
        dead = [await fail_job.submit(text) for text in ("replayed", "discarded")]
        for job in dead:
            with pytest.raises(JobDead):
                await job.result(timeout=PATIENCE_S)
        alive = await double.submit(1)
        assert await alive.result(timeout=PATIENCE_S) == 2
        await asyncio.to_thread(runner.stop)
        again = await app.jobs.replay(dead[0])
        await app.jobs.discard(dead[1])
        with pytest.raises(AlreadyCancelled):
            await app.jobs.replay(alive)
        with pytest.raises(AlreadyCancelled):
            await app.jobs.cancel(alive)
        await asyncio.to_thread(runner.start)
        with pytest.raises(JobDead, match="replayed"):
            await again.result(timeout=PATIENCE_S)

        async def discarded() -> bool:
            return [letter.id for letter in await app.jobs.dead_letters()] == [again.id]

        await until(discarded)
        assert (await app.jobs.status(again)).replay_of == dead[0].id


async def test_a_timer_is_cancelled_without_a_runner(url: str, runner: RunnerProcess) -> None:
    async with app.client(store=url):
        cart = app.ref(Cart, "c")
        door, address = cast("Any", cart)._link.door, cast("Any", cart)._address
        assert await door.cancel_timer(address, "reminder") is False
        await cart.note.opts(name="reminder", delay=3600.0).send(1)
        assert await door.cancel_timer(address, "reminder") is True
        await asyncio.to_thread(runner.start)
        store = await open_client_store(url)

        async def cancelled() -> bool:
            left = (await store.ledger.ledger()).inbox
            return left == 0 and await store.messages.timer(address, "reminder") is None

        await until(cancelled)
        await store.close()


async def test_a_row_that_nobody_can_read_holds_up_nobody_and_stays(url: str, runner: RunnerProcess) -> None:
    store = await open_client_store(url)
    first = await store.ids.allocate(2)
    await store.inbox.leave([(first, 0, InboxKind.MESSAGE, b"\xc1"), (first + 1, 0, InboxKind.JOB, b"")])
    async with app.client(store=url):
        receipt = await app.ref(Cart, "c").note.send(1)
        await asyncio.to_thread(runner.start)
        assert await app.cluster.result(receipt) == 1
    assert (await store.ledger.ledger()).inbox == 2
    await store.close()


async def test_a_message_for_a_type_unknown_here_is_stored_for_a_newer_version(
    url: str, runner: RunnerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cart.__dict__["note"].handler, "name", "note_of_tomorrow")
    newer: Any = type(app)("shop")
    newer.entity(Cart)
    async with newer.client(store=url):
        await newer.ref(Cart, "c").note_of_tomorrow.send(1)
    monkeypatch.undo()
    runner.start()
    store = await open_client_store(url)

    async def stored() -> bool:
        return [
            (row.method, row.entity_id) for row in await store.messages.pending(after=0, limit=9, due_before=1)
        ] == [("note_of_tomorrow", "c")]

    await until(stored)
    assert (await store.ledger.ledger()).inbox == 0
    await store.close()


async def test_a_call_waits_for_a_runner_that_starts(url: str, runner: RunnerProcess) -> None:
    async with app.client(store=url):
        volatile, durable = (
            asyncio.ensure_future(app.ref(Till, "t").ring(0.0)),
            asyncio.ensure_future(app.ref(Cart, "c").note(1)),
        )
        await asyncio.to_thread(runner.start)
        assert (await volatile, await durable) == ("rung", 1)


async def test_without_a_runner_calls_end_at_their_deadline_and_are_not_executed(url: str) -> None:
    async with app.client(store=url):
        for call in (app.ref(Till, "t").ring.opts(timeout=0.1)(0.0), app.ref(Cart, "c").note.opts(timeout=0.1)(1)):
            with pytest.raises(RunnerUnavailable) as raised:
                await call
            assert raised.value.executed == "no"
        assert not app.cluster.health().ready


async def test_a_volatile_call_that_had_left_is_not_repeated(url: str, runner: RunnerProcess) -> None:
    runner.start()
    async with app.client(store=url):
        till = app.ref(Till, "t")
        await till.ring(0.0)
        call = asyncio.ensure_future(till.ring(3600.0))
        await app.cluster.runners()  # an answer to what was sent behind it
        runner.kill()
        with pytest.raises(RpcClientError) as raised:
            await call
        assert raised.value.executed == "unknown"


async def test_a_durable_call_under_way_in_a_kill_is_answered_by_the_next_runner(
    url: str, runner: RunnerProcess
) -> None:
    runner.start()
    async with app.client(store=url):
        cart = app.ref(Cart, "c")
        await cart.note(0)
        call = asyncio.ensure_future(cart.note_slowly(1, 0.5))
        await app.cluster.runners()  # an answer to what was sent behind it
        runner.kill()
        await asyncio.to_thread(runner.start)
        assert await call == 2
        assert await cart.numbers() == [0, 1]


async def test_a_frozen_runner_is_waited_for_and_not_gone_round(url: str, runner: RunnerProcess) -> None:
    runner.start()
    async with app.client(store=url):
        cart = app.ref(Cart, "c")
        await cart.note(0)
        runner.pause()
        with pytest.raises(SendTimeout) as raised:
            await cart.note.opts(timeout=1.0)(1)
        assert raised.value.executed == "unknown"
        later = asyncio.ensure_future(cart.note(2))
        runner.go_on()
        assert await later == 3
        assert await cart.numbers() == [0, 1, 2]


async def test_a_wait_for_a_job_outlives_its_runner(url: str, runner: RunnerProcess) -> None:
    runner.start()
    async with app.client(store=url):
        job = await double.opts(delay=0.5).submit(3)
        waiting = asyncio.ensure_future(job.result(timeout=PATIENCE_S))
        await app.jobs.status(job)
        runner.kill()
        await asyncio.to_thread(runner.start)
        assert await waiting == 6


async def test_a_client_that_stops_leaves_its_callers_no_riddle(url: str) -> None:
    async with app.client(store=url):
        call = asyncio.ensure_future(app.ref(Cart, "c").note(1))
        await asyncio.sleep(0)
    with pytest.raises(MessageError):
        await call
