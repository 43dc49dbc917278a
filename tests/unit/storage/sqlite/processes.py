"""What the tests run in processes of their own: `python -m tests.unit.storage.sqlite.processes VERB URL ...`.

Each prints one line per step and ends when its standard input is closed, so that a test that dies leaves none behind.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress

from holdfast.errors import HoldfastError, PersistenceError
from holdfast.model.inbox import InboxKind
from holdfast.storage.open import open_client_store, open_runner_store
from tests.conformance.rows import DONE, END, JOB, MESSAGE, REGISTRATION, STATE, unit

BATCH = 8
PAYLOAD = b"x" * 2_000


def say(*words: object) -> None:
    print(*words, flush=True)


async def hold(url: str) -> None:
    """Registers as the runner and stays it until the end of the input."""
    try:
        store = await open_runner_store(url)
    except HoldfastError as error:
        say("refused", error)
        return
    await store.membership.register(REGISTRATION)
    say("holding")
    await asyncio.to_thread(sys.stdin.read)
    await store.close()


def nursery() -> None:
    """Forks a committing child for each line "url fifo" and says its process id: a start without the imports."""
    for line in sys.stdin:
        url, fifo = line.split()
        child = os.fork()
        if child == 0:
            sys.stdout = open(fifo, "w")  # noqa: SIM115, PTH123 - open until the kill
            asyncio.run(commit(url))
        say(child)
        os.waitpid(child, 0)


async def commit(url: str) -> None:
    """Commits batch after batch and says the number of each batch that is durable.

    A unit of batch n is a state at version n, a message, an outcome and a job that ended: all of it or none is there.
    """
    store = await open_runner_store(url)
    await store.membership.register(REGISTRATION)
    number = 1
    while True:
        units = [
            unit(
                STATE._replace(entity_id=f"c-{place}", version=number),
                MESSAGE._replace(id=number * BATCH + place, payload=PAYLOAD),
                DONE._replace(id=number * BATCH + place),
            )
            for place in range(BATCH)
        ]
        jobs = [JOB._replace(id=number * BATCH + place) for place in range(BATCH)]
        units += [unit(job, *([END._replace(id=job.id)] if job.id % 2 else [])) for job in jobs]
        store.journal.commit(units)
        say(number)
        number += 1


async def allocate(url: str, count: str) -> None:
    """Takes blocks of ids as a client, and says the first of each."""
    store = await open_client_store(url)
    for _ in range(int(count)):
        say(await store.ids.allocate(10))
    await store.close()


async def leave(url: str, first: str, count: str) -> None:
    """Leaves inbox rows as a client, one by one."""
    store = await open_client_store(url)
    for number in range(int(first), int(first) + int(count)):
        while True:
            with suppress(PersistenceError):
                await store.inbox.leave([(number, 3, InboxKind.MESSAGE, b"row")])
                break
        say(number)
    await store.close()


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    if verb == "nursery":
        nursery()
    else:
        asyncio.run({"hold": hold, "allocate": allocate, "leave": leave}[verb](*arguments))
