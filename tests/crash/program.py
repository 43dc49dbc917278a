"""The application that the crash test kills: `main` runs it until then, with the mistakes it is told to make.

Every operation has an id of its own and appends it to a list, so that one that was lost or repeated shows: entities
keep the list in their state, jobs in a table of the user's that commits with the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast import App, Entity, job_context, message
from holdfast.entities.admission import Admission, Admitted
from holdfast.model.message import MessageRow
from holdfast.model.unit import Unit
from holdfast.runtime.commits import MeteredJournal
from holdfast.settings import EntitySettings, JobSettings, Settings

PATIENT = Settings(entities=EntitySettings(crashes_max=10_000), jobs=JobSettings(crashes_max=10_000))
"""Here it is the test that kills: no message and no job is to blame, however often it was running."""

app = App("crash", settings=PATIENT)

LISTS = 4


@dataclass
class Operations:
    done: list[str] = field(default_factory=list)


@app.job(max_attempts=1000)
async def note(operation: str) -> str:
    async with job_context().transaction() as tx:
        await tx.execute("CREATE TABLE IF NOT EXISTS note (operation TEXT NOT NULL)")
        await tx.execute("INSERT INTO note (operation) VALUES (?)", operation)
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
        """Suspends, so that it is stored first, and sends on: to another entity and to a job, with its own commit."""
        await asyncio.sleep(0)
        self.state.done.append(operation)
        await self.ref(Mirror, self.id).copy.send(operation)
        await self.submit(note, operation)
        return len(self.state.done)

    @message
    async def append_volatile(self, operation: str) -> int:
        self.state.done.append(operation)
        return len(self.state.done)

    @message(readonly=True)
    async def operations(self) -> list[str]:
        return self.state.done

    @message
    async def notes(self) -> list[str]:
        """What the jobs have committed."""
        async with self.transaction() as tx:
            await tx.execute("CREATE TABLE IF NOT EXISTS note (operation TEXT NOT NULL)")
            return [str(row["operation"]) for row in await tx.fetch("SELECT operation FROM note")]


@app.entity
class Mirror(Entity[Operations]):
    @message(durable=True)
    async def copy(self, operation: str) -> None:
        self.state.done.append(operation)

    @message(readonly=True)
    async def operations(self) -> list[str]:
        return self.state.done


async def serve(store: str) -> None:
    async with app.runner(store=store):
        print("serving", flush=True)
        await asyncio.Event().wait()


def acknowledge_before_commit() -> None:
    """Broken on purpose: whoever waits is told at once, the disk a little later."""
    commit = MeteredJournal.commit

    def later(self: MeteredJournal, units: Sequence[Unit]) -> None:
        asyncio.get_running_loop().call_later(0.05, commit, self, list(units))

    MeteredJournal.commit = later  # type: ignore[method-assign]


def forget_what_was_done() -> None:
    """Broken on purpose: a message that is sent again is taken for a new one, also by the store."""
    accept = Admission.accept

    async def accept_as_new(self: Admission, row: MessageRow, *args: Any, **kwargs: Any) -> Admitted:
        return await accept(self, row._replace(id=await self._ids.take(), key=None), *args, **kwargs)

    Admission.accept = accept_as_new  # type: ignore[method-assign]


BROKEN = {"ack-before-commit": acknowledge_before_commit, "no-idempotency": forget_what_was_done}


def main(store: str, *mistakes: str) -> None:
    for mistake in mistakes:
        BROKEN[mistake]()
    asyncio.run(serve(store))
