"""A relay in front of a store or of a runner, that can be slow, deaf in one direction or both, or cut.

What a deaf relay takes in it passes on once it hears again, as a network does that loses packets for a while: the
connection lives, nothing is out of order. A cut ends connections in the middle of whatever they were saying.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

Direction = Literal["in", "out"]
"""`in`: towards what the relay stands in front of."""
Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
_CHUNK = 256 * 1024


class Relay:
    """Listens as a Unix socket or on a port of the loopback."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hears = {"in": asyncio.Event(), "out": asyncio.Event()}
        self.latency_s = 0.0
        self.struck = 0
        """How often something that came this way was delayed, held up or cut."""
        self.hear()

    async def listen_unix(self, path: str) -> None:
        self._server = await asyncio.start_unix_server(self._accept, path)

    async def listen_tcp(self, host: str = "127.0.0.1") -> int:
        """Returns the port."""
        self._server = await asyncio.start_server(self._accept, host, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def deafen(self, *directions: Direction) -> None:
        for direction in directions:
            self._hears[direction].clear()

    def hear(self) -> None:
        """In both directions again, and at once what was said meanwhile."""
        for heard in self._hears.values():
            heard.set()

    def cut(self) -> None:
        """Ends every connection there is now."""
        self.struck += len(self._writers)
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.hear()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._writers.add(writer)
        try:
            await self._heard("in")
            with suppress(OSError):
                far_reader, far_writer = await self._dial()
                ends.append(far_writer)
                self._writers.add(far_writer)
                pumps = (self._pump(reader, far_writer, "in"), self._pump(far_reader, writer, "out"))
                await asyncio.gather(*pumps)
        finally:
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.latency_s:
                    self.struck += 1
                    await asyncio.sleep(self.latency_s)
                await self._heard(direction)
                writer.write(data)
                await writer.drain()
            await self._heard(direction)
            await writer.drain()
        writer.close()  # whoever ended it, the other side hears of it, after all that was said before

    async def _heard(self, direction: Direction) -> None:
        self.struck += not self._hears[direction].is_set()
        await self._hears[direction].wait()
