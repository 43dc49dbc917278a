"""The users' testing kit on an ordinary loop: whose time moves when, and what it gives back at its end."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import App, Entity, message, testing
from holdfast.errors import NotStarted, UsageError
from holdfast.testing.borrowed import virtual_time

app = App("shop")


@app.entity
class Worker(Entity[None]):
    @message
    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @message(executor="thread")
    def sleep_really(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    @message(durable=True)
    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def test_time_starts_at_a_fixed_moment_and_moves_as_told() -> None:
    async with testing.runner(app) as t:
        before = t.clock.now
        assert before - datetime(2026, 1, 1, tzinfo=UTC) < timedelta(seconds=1)
        await t.clock.advance(60)
        assert t.clock.now - before == timedelta(seconds=60)


async def test_time_moves_by_itself_where_nothing_else_can_go_on() -> None:
    async with testing.runner(app) as t:
        before, began = t.clock.now, time.process_time()
        assert await app.ref(Worker, "w").sleep.opts(timeout=900)(600) == "slept"
        assert t.clock.now - before == timedelta(seconds=600)
        assert time.process_time() - began < 10


async def test_the_tests_own_waiting_is_virtual_too() -> None:
    async with testing.runner(app):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.Event().wait()


async def test_a_thread_is_not_overtaken() -> None:
    async with testing.runner(app) as t:
        before = t.clock.now
        assert await app.ref(Worker, "w").sleep_really(0.05) == "slept"
        assert t.clock.now - before < timedelta(seconds=10)


async def test_a_socket_is_not_overtaken() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1))
        writer.close()
        await writer.wait_closed()

    async with testing.runner(app):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async with asyncio.timeout(30):
            writer.write(b"x")
            assert await reader.read() == b"x"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()


async def test_settle_waits_for_what_is_under_way_and_not_for_what_is_due_later() -> None:
    async with testing.runner(app) as t:
        worker, before = app.ref(Worker, "w"), t.clock.now
        await worker.wait.opts(delay=50).send(1)
        await worker.wait.send(20)
        await t.settle()
        assert timedelta(seconds=20) <= t.clock.now - before < timedelta(seconds=21)


async def test_settle_says_what_does_not_end() -> None:
    async with testing.runner(app) as t:
        call = asyncio.create_task(app.ref(Worker, "w").sleep.opts(timeout=900)(500))
        with pytest.raises(testing.NotSettled, match="Worker/w"):
            await t.settle(timeout=5)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_the_loop_is_given_back_as_it_was() -> None:
    loop = asyncio.get_running_loop()
    selector = loop._selector  # type: ignore[attr-defined]
    async with testing.runner(app) as t:
        await t.clock.advance(1000)
    began = time.monotonic()
    assert began <= loop.time() <= time.monotonic()
    assert loop._selector is selector  # type: ignore[attr-defined]
    assert await asyncio.to_thread(lambda: 42) == 42
    with pytest.raises(NotStarted):
        await app.ref(Worker, "w").sleep(0)


async def test_the_data_ends_with_the_runner_but_not_with_a_restart() -> None:
    async with testing.runner(app) as t:
        receipt = await app.ref(Worker, "w").wait.send(0)
        await t.restart()
        assert await app.cluster.result(receipt) is None
    async with testing.runner(app):
        with pytest.raises(Exception, match="no message"):
            await app.cluster.result(receipt)


async def test_a_virtual_loop_keeps_its_own_time() -> None:
    async def main() -> float:
        async with testing.runner(app) as t:
            await t.clock.advance(60)
            return asyncio.get_running_loop().time()

    def run() -> float:
        return testing.run(main())

    assert await asyncio.to_thread(run) == pytest.approx(60, abs=0.1)


def test_a_loop_whose_time_cannot_be_moved_is_refused() -> None:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        with pytest.raises(UsageError, match="SelectorEventLoop"), virtual_time(loop):
            pass
    finally:
        loop.close()
