"""The application of these tests; on SQLite its runner is a process."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field

from holdfast import App, Entity, message
from holdfast.settings import ClusterSettings, Settings

SETTINGS = Settings(cluster=ClusterSettings(lease_ttl=600.0))
"""On PostgreSQL, where nobody here waits for a lease to run out, a runner may be held up for as long as it likes."""
app = App("shop", settings=SETTINGS)


@dataclass
class Notes:
    lines: list[str] = field(default_factory=list)


@app.entity
class Book(Entity[Notes]):
    @message(durable=True)
    async def note(self, line: str) -> int:
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(readonly=True)
    async def lines(self) -> list[str]:
        return self.state.lines


@app.job
async def double(number: int) -> int:
    return 2 * number


async def serve(url: str) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with app.runner(store=url):
        print("serving", flush=True)
        await over.wait()


def main(url: str) -> None:
    asyncio.run(serve(url))
