"""Deadlines and cancellation reach the handler; its own scopes work as anywhere and are not confused with them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from holdfast import Entity, Module, message
from holdfast.errors import HandlerFailed, SendTimeout

from .conftest import Hosting

shop = Module()
events: list[str] = []


@shop.entity
class Worker(Entity[None]):
    @message
    async def work(self, seconds: float, name: str = "work") -> str:
        events.append(f"+{name}")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            events.append(f"cancelled {name}")
            raise
        events.append(f"-{name}")
        return name

    @message
    async def own_timeout(self, inner: float) -> str:
        try:
            async with asyncio.timeout(inner):
                await asyncio.sleep(3600)
        except TimeoutError:
            return "inner"
        return "none"

    @message
    async def group(self) -> list[int]:
        async def one(number: int) -> int:
            await asyncio.sleep(number)
            return number

        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(one(number)) for number in (1, 2, 3)]
        return [task.result() for task in made]

    @message
    async def failing_group(self) -> None:
        async def fails() -> None:
            await asyncio.sleep(1)
            raise LookupError("one of them")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails())
            tasks.create_task(asyncio.sleep(3600))

    @message
    async def awaits_a_cancelled_task(self, wait: float) -> None:
        task = asyncio.create_task(asyncio.sleep(3600))
        task.cancel()
        await asyncio.sleep(wait)
        await task

    @message
    async def raises_cancelled(self) -> None:
        raise asyncio.CancelledError

    @message
    async def stubborn(self) -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "anyway"
        return "never"

    @message
    async def scoped(self) -> int:
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    @message(durable=True, max_deliveries=2)
    async def work_durably(self, seconds: float) -> str:
        events.append("+durable")
        await asyncio.sleep(seconds)
        events.append("-durable")
        return "done"

    @message(readonly=True)
    async def ping(self) -> str:
        return "pong"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    yield


async def cold(worker: Worker) -> None:
    """The entity is not live: its first message goes through the mailbox."""


async def warm(worker: Worker) -> None:
    """The entity is live and free: the handler runs in its caller's task."""
    assert await worker.ping() == "pong"


both_ways = pytest.mark.parametrize("prepare", [cold, warm])


@both_ways
async def test_a_handler_that_takes_longer_than_the_calls_timeout_is_cancelled(hosting: Hosting, prepare) -> None:
    async with hosting(shop) as (app, _):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        with pytest.raises(SendTimeout) as caught:
            await worker.work.opts(timeout=5)(3600)
        assert caught.value.executed == "unknown"
        assert events == ["+work", "cancelled work"]
        assert await worker.ping() == "pong"


@both_ways
async def test_time_in_the_mailbox_counts(hosting: Hosting, prepare) -> None:
    async with hosting(shop) as (app, t):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        first = asyncio.create_task(worker.work(10, "first"))
        await asyncio.sleep(0)
        with pytest.raises(SendTimeout) as caught:
            await worker.work.opts(timeout=5)(1, "second")
        assert caught.value.executed == "no"
        assert await first == "first"
        await t.settle()
        assert events == ["+first", "-first"]


@both_ways
async def test_the_handlers_own_timeout_is_its_own(hosting: Hosting, prepare) -> None:
    async with hosting(shop) as (app, _):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        assert await worker.own_timeout.opts(timeout=10)(5) == "inner"
        with pytest.raises(SendTimeout):
            await worker.own_timeout.opts(timeout=5)(10)


@both_ways
async def test_the_callers_timeout_is_the_callers(hosting: Hosting, prepare) -> None:
    async with hosting(shop) as (app, _):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await worker.work(3600)
        assert await worker.scoped() == 0
        assert events == ["+work", "cancelled work"]


@both_ways
async def test_task_groups_work_in_handlers(hosting: Hosting, prepare) -> None:
    async with hosting(shop) as (app, _):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        assert await worker.group() == [1, 2, 3]
        with pytest.raises(HandlerFailed, match="ExceptionGroup"):
            await worker.failing_group()
        assert await worker.ping() == "pong"


@both_ways
@pytest.mark.parametrize("wait", [0.0, 1.0])
async def test_a_cancellation_that_nobody_asked_for_is_a_failure_of_the_handler(
    hosting: Hosting, prepare, wait: float
) -> None:
    async with hosting(shop) as (app, _):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        with pytest.raises(HandlerFailed, match="CancelledError"):
            await worker.awaits_a_cancelled_task(wait)
        with pytest.raises(HandlerFailed, match="CancelledError"):
            await worker.raises_cancelled()
        assert await worker.ping() == "pong"


@both_ways
async def test_a_handler_that_ends_well_although_its_time_was_up_has_ended_well(hosting: Hosting, prepare) -> None:
    """And leaves no trace of a cancellation in its caller's task."""
    async with hosting(shop) as (app, _):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        assert await worker.stubborn.opts(timeout=1)() == "anyway"
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0
        assert await worker.scoped() == 0


@both_ways
async def test_a_cancelled_caller_cancels_the_handler_that_runs_for_it(hosting: Hosting, prepare) -> None:
    async with hosting(shop) as (app, _):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        call = asyncio.create_task(worker.work(3600))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await worker.ping() == "pong"
        assert events == ["+work", "cancelled work"]


@both_ways
async def test_a_cancelled_callers_message_that_waits_is_never_handled(hosting: Hosting, prepare) -> None:
    async with hosting(shop) as (app, t):
        worker = app.ref(Worker, "w")
        await prepare(worker)
        first = asyncio.create_task(worker.work(10, "first"))
        await asyncio.sleep(1)
        second = asyncio.create_task(worker.work(10, "second"))
        await asyncio.sleep(1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await first
        await t.settle()
        assert events == ["+first", "-first"]


async def test_a_durable_message_goes_on_without_its_caller(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        call = asyncio.create_task(app.ref(Worker, "w").work_durably(10))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await t.settle()
        assert events == ["+durable", "-durable"]


async def test_a_durable_call_that_runs_out_of_time_goes_on(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        with pytest.raises(SendTimeout) as caught:
            await app.ref(Worker, "w").work_durably.opts(timeout=5)(10)
        assert caught.value.executed == "unknown"
        await t.settle()
        assert events == ["+durable", "-durable"]


async def test_a_delivery_that_takes_longer_than_the_handler_timeout_is_tried_again(hosting: Hosting) -> None:
    async with hosting(shop) as (app, t):
        receipt = await app.ref(Worker, "w").work_durably.send(3600)
        await t.clock.advance(200)
        await t.settle()
        assert events == ["+durable", "+durable"]
        with pytest.raises(Exception, match="SendTimeout"):
            await app.cluster.result(receipt)
