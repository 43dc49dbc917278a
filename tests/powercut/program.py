"""What runs when the power goes: `python program.py STORE ROUND` hosts entities and jobs and never stops sending.

First it lets everything end that the round before had accepted, and says what of it is there. Then every line that it
prints is an acknowledgement, written only after the operation's own: what the reader has read had been promised.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from holdfast import App, Entity, JobState, message
from holdfast.errors import JobNotFound
from holdfast.model.ids import JobId
from holdfast.runtime import opening
from holdfast.settings import EntitySettings, JobSettings, Settings
from holdfast.storage.open import open_client_store, open_runner_store

PATIENT = Settings(entities=EntitySettings(crashes_max=10_000), jobs=JobSettings(crashes_max=10_000))
SENDERS_OF_EACH_KIND = 4
PATIENCE_S = 120.0
LOOK_AGAIN_S = 0.02

app = App("power", settings=PATIENT)


@dataclass
class Operations:
    done: list[str] = field(default_factory=list)


@app.job
async def noted(operation: str) -> str:
    return operation


@app.entity
class Journal(Entity[Operations]):
    @message(durable=True, dedupe="operation")
    async def append(self, operation: str) -> int:
        """Quick: stored and consumed by one commit."""
        self.state.done.append(operation)
        return len(self.state.done)

    @message(durable=True, dedupe="operation")
    async def append_slowly(self, operation: str) -> int:
        """Suspends, so that it is stored first, and sends on with its own commit."""
        await asyncio.sleep(0)
        self.state.done.append(operation)
        await self.ref(Mirror, self.id).copy.send(operation)
        return len(self.state.done)

    @message
    async def append_volatile(self, operation: str) -> int:
        self.state.done.append(operation)
        return len(self.state.done)

    @message(readonly=True)
    async def operations(self) -> list[str]:
        return self.state.done


@app.entity
class Mirror(Entity[Operations]):
    @message(durable=True)
    async def copy(self, operation: str) -> None:
        self.state.done.append(operation)

    @message(readonly=True)
    async def operations(self) -> list[str]:
        return self.state.done


def entity_of(round_number: int, kind: str) -> str:
    return f"round-{round_number}-{kind}"


async def say(what: dict[str, object]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


async def send_for_ever(round_number: int, kind: str, name: str) -> None:
    journal = app.ref(Journal, entity_of(round_number, kind))
    sends: dict[str, Callable[[str], Awaitable[object]]] = {
        "quick": journal.append,
        "slow": journal.append_slowly,
        "sent": journal.append.send,
        "volatile": journal.append_volatile,
    }
    number = 0
    while True:
        number += 1
        operation = f"{kind}-{name}-{number}"
        if kind == "job":
            job = await noted.submit(operation)
            await say({"kind": kind, "operation": operation, "job": str(job.id)})
        else:
            await sends[kind](operation)
            await say({"kind": kind, "operation": operation})


async def completed(job: JobId) -> bool:
    try:
        return (await app.jobs.status(job)).state is JobState.COMPLETED
    except JobNotFound:
        return False


KINDS = ("quick", "slow", "sent", "volatile", "job")


async def everything_ended(url: str) -> None:
    store = await open_client_store(url)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                ledger = await store.ledger.ledger()
                to_do = sum(jobs.live for jobs in ledger.jobs) + sum(each.pending for each in ledger.messages)
                if not to_do and not ledger.inbox:
                    return
                await asyncio.sleep(LOOK_AGAIN_S)  # the store is asked, nobody tells
    finally:
        await store.close()


async def serve(url: str, round_number: int) -> None:
    async with app.runner(store=url):
        before = round_number - 1
        await everything_ended(url)
        there: dict[str, object] = {
            kind: await app.ref(Journal, entity_of(before, kind)).operations() for kind in KINDS if kind != "job"
        }
        there["mirror"] = await app.ref(Mirror, entity_of(before, "slow")).operations()
        asked = json.loads(sys.stdin.readline())
        there["jobs"] = [job for job in asked if await completed(job)]
        await say({"there": there})
        async with asyncio.TaskGroup() as senders:
            for kind in KINDS:
                for name in range(SENDERS_OF_EACH_KIND):
                    senders.create_task(send_for_ever(round_number, kind, str(name)))


def unsafe() -> None:
    """SQLite without a sync at each commit, asked for by its name: what it loses is what the default saves."""
    opening.open_runner_store = functools.partial(open_runner_store, synchronous="OFF", unsafe_synchronous=True)  # type: ignore[attr-defined]


if __name__ == "__main__":
    if "unsafe" in sys.argv[3:]:
        unsafe()
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
