"""A relay tells whether what was done to it has struck anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from holdfast.verify.relay import Relay

PATIENCE_S = 20.0


@asynccontextmanager
async def echo_behind_a_relay() -> AsyncGenerator[tuple[Relay, asyncio.StreamReader, asyncio.StreamWriter], None]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(100):
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    relay = Relay(lambda: asyncio.open_connection(*server.sockets[0].getsockname()))
    reader, writer = await asyncio.open_connection("127.0.0.1", await relay.listen_tcp())
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield relay, reader, writer
    finally:
        writer.close()
        await relay.close()
        server.close()
        await server.wait_closed()


async def test_what_is_slow_or_held_up_arrives_and_is_counted() -> None:
    """Only while it is so."""
    async with echo_behind_a_relay() as (relay, reader, writer):
        writer.write(b"1")
        assert await reader.read(100) == b"1"
        assert relay.struck == 0
        relay.latency_s = 0.01
        writer.write(b"2")
        assert await reader.read(100) == b"2"
        assert relay.struck == 2
        relay.latency_s = 0.0
        relay.deafen("in")
        writer.write(b"3")
        while relay.struck == 2:  # noqa: ASYNC110 - the relay does not tell
            await asyncio.sleep(0)
        relay.hear()
        assert await reader.read(100) == b"3"


async def test_a_cut_counts_what_it_ends() -> None:
    """Both sides of a connection."""
    async with echo_behind_a_relay() as (relay, reader, writer):
        writer.write(b"1")
        assert await reader.read(100) == b"1"
        relay.cut()
        assert relay.struck == 2
        with suppress(ConnectionResetError):
            assert await reader.read(100) == b""


async def test_who_has_no_connection_is_not_struck() -> None:
    """By a cut, that is."""
    relay = Relay(lambda: asyncio.open_connection("127.0.0.1", 1))
    relay.cut()
    assert relay.struck == 0
