"""The application of the tests with two processes, and its runner. It says `serving` once it does; SIGTERM ends it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import App, Entity, Settings, job_context, message, stream
from holdfast.settings import ClusterSettings, EntitySettings


class SoldOut(Exception):
    """A declared error."""


@dataclass
class Line:
    sku: str
    qty: int


@dataclass
class CartState:
    lines: list[Line] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


SETTINGS = Settings(
    entities=EntitySettings(crashes_max=100),  # the tests kill it faster than it works
    cluster=ClusterSettings(lease_renewal=0.5),  # runners see each other sooner
)
app = App("shop", settings=SETTINGS)


@app.entity(mailbox=100_000)
class Cart(Entity[CartState]):
    def __init__(self) -> None:
        self.interrupted = 0

    @message
    async def add(self, line: Line) -> list[Line]:
        self.state.lines.append(line)
        return self.state.lines

    @message(errors=(SoldOut,))
    async def refuse(self, sku: str) -> None:
        raise SoldOut(sku, 3)

    @message
    async def fail(self) -> None:
        raise ValueError("secret")

    @message
    async def sleep(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        return "slept"

    @message(readonly=True)
    async def interruptions(self) -> int:
        return self.interrupted

    @message(durable=True, dedupe="order_id", errors=(SoldOut,))
    async def checkout(self, order_id: str, fails: bool = False) -> str:
        if fails:
            raise SoldOut(order_id)
        return f"accepted {order_id}"

    @message(durable=True)
    async def note(self, number: int) -> int:
        self.state.numbers.append(number)
        return len(self.state.numbers)

    @message(durable=True)
    async def note_slowly(self, number: int, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.state.numbers.append(number)
        return len(self.state.numbers)

    @message(durable=True)
    async def note_when(self, number: int, there: str) -> int:
        """Once that file is there."""
        while not await asyncio.to_thread(Path(there).exists):  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)
        self.state.numbers.append(number)
        return len(self.state.numbers)

    @message(readonly=True)
    async def numbers(self) -> list[int]:
        return self.state.numbers


@app.entity(mailbox=5)
class Till(Entity[None]):
    @message
    async def ring(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "rung"


@app.entity
class Feed(Entity[None]):
    def __init__(self) -> None:
        self.produced = 0
        self.closed = 0

    @stream
    async def lines(self, count: int) -> AsyncIterator[Line]:
        try:
            for number in range(count):
                self.produced += 1
                yield Line("line", number)
        finally:
            self.closed += 1

    @stream
    async def broken(self) -> AsyncIterator[int]:
        yield 1
        raise ValueError("secret")

    @stream
    async def silent(self) -> AsyncIterator[int]:
        await asyncio.sleep(3600)
        yield 1

    @message(readonly=True)
    async def counts(self) -> tuple[int, int]:
        return self.produced, self.closed


@app.job
async def double(number: int) -> int:
    return 2 * number


@app.job(max_attempts=1)
async def fail_job(text: str) -> None:
    raise ValueError(text)


@app.job
async def wait_long() -> None:
    job_context().progress(0.5)
    await asyncio.sleep(3600)


async def serve(url: str) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    async with app.runner(store=url):
        print("serving", flush=True)
        await over.wait()


def main(url: str) -> None:
    asyncio.run(serve(url))
