"""Streams: all items in order, no more under way than the consumer has room for, and an end that is heard."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import MailboxFull, MalformedMessage, RpcClientError
from holdfast.model.envelope import Result, StreamCredit, StreamItem
from holdfast.ports.transport import StreamDeclined
from holdfast.testing.loop import run
from tests.unit.transport.inbound import call, opening
from tests.unit.transport.test_connection import pair, small


@pytest.mark.parametrize("credit", [1, 2, 3, 16, 200])
def test_all_items_arrive_in_order(credit: int) -> None:
    async def main() -> None:
        async with pair() as side:
            items = [item async for item in side.peer.stream(opening(credit=credit))]
            assert items == [bytes([number]) for number in range(100)]

    run(main())


def test_the_producer_waits_for_a_slow_consumer() -> None:
    async def main() -> None:
        async with pair() as side:
            stream = side.peer.stream(opening(credit=4))
            await asyncio.sleep(10)
            assert side.answering.sent == [0, 1, 2, 3]
            assert [await anext(stream) for _ in range(2)] == [b"\x00", b"\x01"]
            await asyncio.sleep(10)
            assert side.answering.sent == [0, 1, 2, 3, 4, 5]
            stream.cancel()
            await side.peer.call(call())
            await asyncio.sleep(0)
            assert not side.answering.tasks

    run(main())


def test_a_cancelled_stream_stops_its_producer_and_ends() -> None:
    async def main() -> None:
        async with pair() as side:
            stream = side.peer.stream(opening())
            await anext(stream)
            stream.cancel()
            stream.cancel()
            assert [item async for item in stream] == []
            await side.peer.call(call())
            await asyncio.sleep(0)
            assert not side.answering.tasks and side.answering.cancelled == [1]

    run(main())


@pytest.mark.parametrize(("method", "error"), [("declared", StreamDeclined), ("full", MailboxFull)])
def test_an_error_comes_after_the_items_before_it(method: str, error: type[Exception]) -> None:
    async def main() -> None:
        async with pair() as side:
            items = []
            with pytest.raises(error):
                async for item in side.peer.stream(opening(method)):
                    items.append(item)
            assert len(items) == 100

    run(main())


def test_a_broken_line_ends_both_ends() -> None:
    async def main() -> None:
        async with pair() as side:
            stream = side.peer.stream(opening())
            await anext(stream)
            await asyncio.sleep(1)
            side.network.cut("client", "runner")
            rest = []
            with pytest.raises(RpcClientError):
                async for item in stream:
                    rest.append(item)
            assert rest == [b"\x01", b"\x02", b"\x03"]  # what had arrived is not lost
            await asyncio.sleep(1)
            assert not side.answering.tasks

    run(main())


def test_a_stream_opened_and_cancelled_in_one_pass_leaves_no_producer() -> None:
    async def main() -> None:
        async with pair() as side:
            side.peer.stream(opening()).cancel()
            await side.peer.call(call())
            await asyncio.sleep(1)
            assert not side.answering.tasks

    run(main())


def test_streams_share_the_window_with_calls() -> None:
    async def main() -> None:
        async with pair(small(window=2)) as side:
            streams = [side.peer.stream(opening()), side.peer.stream(opening())]
            with pytest.raises(MailboxFull):
                side.peer.call(call())
            streams[0].cancel()
            assert isinstance(await side.peer.call(call()), Result)
            streams[1].cancel()

    run(main())


def test_a_producer_that_ignores_its_credit_is_cut_off() -> None:
    async def main() -> None:
        async with pair() as side:
            stream = side.peer.stream(opening("never", credit=2))
            await asyncio.sleep(1)
            (back,) = side.listener.peers
            for _ in range(10):
                back.send(StreamItem(1, b"x"))
            await asyncio.sleep(1)
            with pytest.raises(RpcClientError, match="more than the 2 items"):
                while True:
                    await anext(stream)

    run(main())


@pytest.mark.parametrize("credit", [0, -1, 1025, 2**62])
def test_a_consumer_that_grants_nonsense_is_cut_off(credit: int) -> None:
    async def main() -> None:
        async with pair() as side:
            side.peer.stream(opening(credit=4))
            await asyncio.sleep(1)
            side.peer.line.put(StreamCredit(1, credit))  # type: ignore[attr-defined]
            await asyncio.sleep(1)
            assert not side.peer.open and not side.answering.tasks

    run(main())


def test_a_stream_that_cannot_be_opened_says_so() -> None:
    async def main() -> None:
        async with pair() as side:
            large = opening()
            large.payload = bytes(17 * 1024 * 1024)
            with pytest.raises(MalformedMessage, match="was not opened"):
                await anext(side.peer.stream(large))

    run(main())
