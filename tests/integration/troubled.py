"""A runner with two slots, whose event loop can be blocked from outside; it prints its pages' URL.

Its lease is short, so that a blocked loop outlasts it: without the lease's own thread, whoever is blocked would be
reaped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from holdfast import App, Entity, message
from holdfast.settings import ClusterSettings, JobSettings, Settings

CLUSTER = ClusterSettings(
    lease_ttl=6.0, lease_renewal=1.0, loop_stall_limit=14.0, loop_stall_unready=0.5, drain_timeout=5.0
)
SLOTS = 2
app = App("troubled", settings=Settings(cluster=CLUSTER, jobs=JobSettings(slots=SLOTS)))


@app.entity
class Host(Entity[None]):
    """Lives in some process and troubles it."""

    @message
    async def pid(self) -> int:
        return os.getpid()

    @message
    async def block(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the fault


@app.job(group_limit=100)
async def nap(alarm: str) -> int:
    """Until that file is there; returns where it was slept."""
    while not await asyncio.to_thread(Path(alarm).exists):  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.05)
    return os.getpid()


async def serve(url: str) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    async with app.runner(store=url, http="127.0.0.1:0") as node:
        print(node.http, flush=True)
        await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
