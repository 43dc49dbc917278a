"""The application whose stores are kept as dumps, and its runner.

What stands in a dump was written by this application as it was then: methods and jobs may be added here, but what is
there keeps its name and its parameters. In the runner that makes a dump the bank is closed, so that work is left.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

from holdfast import App, Entity, Settings, message
from holdfast.settings import EntitySettings, JobSettings, RetentionSettings

CLOSED_VARIABLE = "HOLDFAST_TEST_BANK_CLOSED"
RETRY_S = 5.0
"""Long enough to be killed before it is over, short enough to be waited for."""
LONGER_THAN_ANY_DUMP_IS_OLD_S = 1e9

app = App(
    "migrated",
    settings=Settings(
        entities=EntitySettings(retry_first=RETRY_S, retry_max=RETRY_S),
        jobs=JobSettings(slots=1, retry_first=RETRY_S, retry_max=RETRY_S),
        retention=RetentionSettings(done=LONGER_THAN_ANY_DUMP_IS_OLD_S),
    ),
)


class Refused(Exception):
    """A declared error."""


@dataclass
class BookState:
    lines: list[str] = field(default_factory=list)


async def wait_for_the_bank() -> None:
    if os.environ.get(CLOSED_VARIABLE):
        await asyncio.Event().wait()


def knock_at_the_bank() -> None:
    if os.environ.get(CLOSED_VARIABLE):
        raise OSError("the bank is closed")


@app.entity
class Book(Entity[BookState]):
    @message(durable=True, dedupe="line")
    async def note(self, line: str) -> int:
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(durable=True, dedupe="line")
    async def note_after_the_bank(self, line: str) -> int:
        await wait_for_the_bank()
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(durable=True, errors=(Refused,))
    async def refuse(self, line: str) -> None:
        raise Refused(line)

    @message(durable=True, on_retry="step_aside", max_deliveries=1)
    async def note_at_once(self, line: str) -> int:
        knock_at_the_bank()
        return await self.note(line)

    @message(durable=True, on_retry="step_aside")
    async def note_in_the_end(self, line: str) -> int:
        knock_at_the_bank()
        return await self.note(line)

    @message(readonly=True)
    async def lines(self) -> list[str]:
        return self.state.lines


@app.job
async def charge(cents: int) -> int:
    return cents


@app.job
async def charge_after_the_bank(cents: int) -> int:
    await wait_for_the_bank()
    return cents


@app.job(max_attempts=1)
async def charge_at_once(cents: int) -> int:
    knock_at_the_bank()
    return cents


@app.job
async def charge_in_the_end(cents: int) -> int:
    knock_at_the_bank()
    return cents


@app.cron("0 0 1 1 *")
@app.job
async def close_the_year() -> None:
    """Comes due between the making of a dump and its test, or does not: it is in nobody's way."""


async def serve(url: str) -> None:
    async with app.runner(store=url):
        print("serving", flush=True)
        await asyncio.Event().wait()


def main(url: str) -> None:
    asyncio.run(serve(url))
