"""The reference that tells how fast the machine is at this moment: a bare asyncio mailbox.

A task and a queue for each of 100 entities, 64 callers that each wait for their reply; no codec, no metrics, no bounds.
Machines differ, and shared ones from one minute to the next, so a rate says little without this one beside it.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

CALLS = 50_000
IN_FLIGHT = 64
ENTITIES = 100


async def bare_mailbox(calls: int = CALLS) -> float:
    """Requests per second of CPU time of this thread."""
    queues: list[asyncio.Queue[tuple[asyncio.Future[int], int]]] = [asyncio.Queue() for _ in range(ENTITIES)]

    async def entity(queue: asyncio.Queue[Any]) -> None:
        value = 0
        while True:
            reply, by = await queue.get()
            value += by
            reply.set_result(value)

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(entity(queue)) for queue in queues]
    turns = iter(range(calls))

    async def caller() -> None:
        for turn in turns:
            reply: asyncio.Future[int] = loop.create_future()
            queues[turn * 7919 % ENTITIES].put_nowait((reply, 1))
            await reply

    began = time.thread_time()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    figure = calls / (time.thread_time() - began)
    for task in tasks:
        task.cancel()
    return figure


def measured_aside() -> float:
    """The same on a thread and a loop of its own, from wherever this is called."""
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(uvloop.run, bare_mailbox()).result()
