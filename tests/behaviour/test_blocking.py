"""Blocking twins, from threads that have no event loop."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Entity, JobHandle, Module, Receipt, message
from holdfast.errors import BlockingCallOnLoop, HandlerFailed

from .conftest import Hosting

shop = Module()


@shop.job
async def mail(to: str) -> str:
    return to


@shop.entity
class Counter(Entity[None]):
    def __init__(self) -> None:
        self.count = 0

    @message
    async def add(self, number: int = 1) -> int:
        await asyncio.sleep(0)
        self.count += number
        return self.count

    @message
    async def fail(self) -> None:
        raise LookupError

    @message(durable=True)
    async def add_durably(self, number: int) -> int:
        self.count += number
        return self.count


@shop.entity
class Threaded(Entity[None]):
    @message(executor="thread")
    def call(self, other: str) -> int:
        return self.ref(Counter, other).add.sync(5)

    @message(executor="thread", durable=True, max_deliveries=1)
    def send(self, other: str, fail: bool) -> None:
        self.ref(Counter, other).add_durably.sync.send(7)
        if fail:
            raise LookupError


async def test_a_thread_calls_sends_and_submits(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _t):
        counter = app.ref(Counter, "c")

        def work() -> tuple[int, int, Receipt[int], JobHandle[str]]:
            return (
                counter.add.sync(2),
                counter.add_durably.sync(3),
                counter.add_durably.sync.send(4),
                mail.sync.submit("anna"),
            )

        added, durably, receipt, job = await asyncio.to_thread(work)
        assert (added, durably, await app.cluster.result(receipt)) == (2, 5, 9)
        assert await job.result() == "anna"


async def test_errors_reach_the_thread(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(HandlerFailed):
            await asyncio.to_thread(app.ref(Counter, "c").fail.sync)


async def test_a_blocking_call_on_the_loop_is_refused(hosting: Hosting) -> None:
    async with hosting(shop) as (app, _):
        with pytest.raises(BlockingCallOnLoop, match="await"):
            app.ref(Counter, "c").add.sync(1)


async def test_a_handler_in_a_thread_may_call_and_send(hosting: Hosting) -> None:
    """What it sends commits with it."""
    async with hosting(shop) as (app, t):
        assert await app.ref(Threaded, "t").call("c") == 5
        await app.ref(Threaded, "t").send("c", False)
        await t.settle()
        assert await app.ref(Counter, "c").add(0) == 12
        with pytest.raises(Exception, match="LookupError"):
            await app.ref(Threaded, "t").send("c", True)
        await t.settle()
        assert await app.ref(Counter, "c").add(0) == 12
