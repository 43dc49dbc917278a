"""Stores of every schema there ever was: each is brought to the newest one with every row alive, and work goes on.

The dumps are of runners that were killed in the middle of their work (`make`). A migration that was shipped is not
altered; one that is added needs its dump.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import apsw
import asyncpg
import pytest

from holdfast.ports.store import ClientStore
from holdfast.storage import migrations
from holdfast.storage.open import open_client_store
from tests.support.postgres import fresh_schema, run, servers

from .make import STEPS, dump_file
from .shop import Book, app, charge

PATIENCE_S = 120.0
TABLES = re.compile(r"CREATE TABLE (holdfast_\w+)")


class Dumped(Protocol):
    """A store as it was loaded."""

    url: str
    steps: int
    """How many schemas there are by now."""

    async def rows(self) -> dict[str, int]:
        """How many there are in each table of the dump."""
        ...


class DumpedFile:
    def __init__(self, folder: Path, dump: str) -> None:
        self.url = f"sqlite:///{folder}/store.db"
        self.steps = len(STEPS["sqlite"]())
        self._path = str(folder / "store.db")
        self._tables = TABLES.findall(dump)
        connection = apsw.Connection(self._path)
        connection.execute(dump)
        connection.close()

    async def rows(self) -> dict[str, int]:
        connection = apsw.Connection(self._path)
        try:
            return {table: connection.execute(f"SELECT count(*) FROM {table}").get for table in self._tables}
        finally:
            connection.close()


class DumpedSchema:
    def __init__(self, url: str, dump: str) -> None:
        self.url = url
        self.steps = len(STEPS["postgres"]())
        self._tables = TABLES.findall(dump)

    async def rows(self) -> dict[str, int]:
        connection = await asyncpg.connect(self.url)
        try:
            return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in self._tables}
        finally:
            await connection.close()


def of_each_step() -> list[object]:
    sqlite = [pytest.param("sqlite", step.number, id=f"sqlite-{step.name}") for step in STEPS["sqlite"]()]
    marks = [pytest.mark.postgres]
    return sqlite + [
        pytest.param(server, step.number, id=f"{server}-{step.name}", marks=marks)
        for server in servers()
        for step in STEPS["postgres"]()
    ]


@pytest.fixture
async def dumped(
    place: str, number: int, tmp_path: Path, postgres_servers: Callable[[str], str]
) -> AsyncIterator[Dumped]:
    if place == "sqlite":
        yield DumpedFile(tmp_path, dump_file("sqlite", number).read_text(encoding="utf-8"))
        return
    dump = dump_file("postgres", number).read_text(encoding="utf-8")
    async with fresh_schema(postgres_servers(place)) as url:
        await run(url, dump)
        yield DumpedSchema(url, dump)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[ClientStore]:
    store = await open_client_store(url)
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("dialect", "number"), [(dialect, step.number) for dialect, steps in STEPS.items() for step in steps()]
)
def test_every_migration_has_a_dump_of_a_store_that_has_come_so_far(dialect: str, number: int) -> None:
    file = dump_file(dialect, number)
    assert file.exists(), f"{file.name} is missing: make it with `python -m tests.migrations.make`"


@pytest.mark.parametrize(("place", "number"), of_each_step())
async def test_every_row_of_an_older_store_is_alive(dumped: Dumped, number: int) -> None:
    before = await dumped.rows()
    assert [table for table, count in before.items() if not count] == []
    await migrations.apply(dumped.url)
    assert await migrations.pending(dumped.url) == []
    grown = {"holdfast_migration": dumped.steps - number}
    assert await dumped.rows() == {table: count + grown.get(table, 0) for table, count in before.items()}
    async with opened(dumped.url) as store:
        ledger = await store.ledger.ledger()
    jobs = {one.job_type: one for one in ledger.jobs}
    plain, once = jobs["charge"], jobs["charge_at_once"]
    assert (plain.scheduled, plain.available, plain.completed, plain.cancelled, plain.enqueued) == (1, 1, 2, 1, 5)
    assert (once.dead, once.replayed, once.discarded, once.dlq_size, once.enqueued) == (4, 1, 1, 2, 3)
    assert (jobs["charge_after_the_bank"].running, jobs["charge_in_the_end"].live) == (1, 1)
    (books,) = (one for one in ledger.messages if one.entity_type == "Book")
    assert (books.pending, books.done, books.dead) == (4, 3, 1)
    assert ledger.inbox == 2


@pytest.mark.parametrize(("place", "number"), of_each_step())
async def test_work_goes_on_where_the_killed_runner_of_an_older_version_left_it(dumped: Dumped) -> None:
    async with app.runner(store=dumped.url):
        async with opened(dumped.url) as store:
            await _all_but_the_far_future_ended(store)
            assert [job.job_type for job in await store.jobs.upcoming(due_after=0, id_after=0, limit=9)] == ["charge"]
            (crashed,) = await store.jobs.archived_page(
                after=0, limit=9, state="completed", job_type="charge_after_the_bank"
            )
            assert crashed.attempts == 1
        lines = {name: await app.ref(Book, name).lines() for name in ("old", "main", "second", "third", "fourth")}
        assert lines == {
            "old": ["forgotten"], "main": ["kept", "held", "behind"], "second": ["tried"], "third": ["left"],
            "fourth": [],
        }  # fmt: skip
        await _what_was_promised_is_remembered()


async def _what_was_promised_is_remembered() -> None:
    """Outcomes by their keys, and dead letters to be replayed."""
    assert await app.ref(Book, "main").note("kept") == 1
    known = await charge.opts(key="kept").submit(2)
    assert known.duplicate and await known.result() == 2
    for letter in await app.jobs.dead_letters():
        assert await (await app.jobs.replay(letter.id)).result(timeout=PATIENCE_S) == 3
    (dead,) = await app.cluster.dead_letters()
    assert await app.cluster.result(await app.cluster.replay(dead.message_id), timeout=PATIENCE_S) == 1
    assert (await app.schedules.status("close_the_year")).job_type == "close_the_year"


async def _all_but_the_far_future_ended(store: ClientStore) -> None:
    """The timer and the scheduled job are left, and the timer of the schedule."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            ledger = await store.ledger.ledger()
            pending = {one.entity_type: one.pending for one in ledger.messages}
            live = sum(one.live for one in ledger.jobs)
            if (pending["Book"], live, ledger.inbox) == (1, 1, 0):
                return
            await asyncio.sleep(0.02)
