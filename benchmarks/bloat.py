"""Does the store on PostgreSQL stay small, however many jobs go through it?

    python benchmarks/bloat.py [--jobs 1000000] [--keep 15] [--naptime 5] [--store URL] [--json]

One runner here takes in jobs one by one from 64 tasks and runs them, while retention deletes what finished `--keep`
seconds ago and the server's own autovacuum does the rest; nobody else vacuums. Ten times on the way the tables are
measured, and `growth` holds the largest size of the second half against that of the first: 1 is no bloat. At the end
all is pruned, and the tables are measured once more, empty. The server of its own looks every `--naptime` seconds
whether there is something to vacuum (60 by default, which is meant for fewer jobs a second); one that is named is
taken as it is, and its schema must be empty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import uvloop
from database import database
from report import machine

from holdfast import App
from holdfast.cli.collector import settle_for_running
from holdfast.settings import RetentionSettings, Settings

TASKS = 64
SAMPLES = 10
PATIENCE_S = 120.0

TABLES = """SELECT relname, pg_relation_size(relid), pg_indexes_size(relid), pg_total_relation_size(relid),
    n_live_tup, n_dead_tup, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del, autovacuum_count
    FROM pg_stat_user_tables WHERE relname LIKE 'holdfast%' ORDER BY relname"""


@dataclass(frozen=True, slots=True)
class Table:
    """What the server says of one table; counts are since it was made."""

    name: str
    heap: int
    indexes: int
    total: int
    live: int
    dead: int
    inserted: int
    updated: int
    updated_in_place: int
    deleted: int
    vacuums: int


Sample = dict[str, Table]


async def nothing(number: int) -> int:
    """The job."""
    return number


async def measured(url: str, jobs: int, keep_s: float) -> dict[str, Any]:
    settings = Settings(retention=RetentionSettings(done=keep_s, prune_every=1.0))
    app = App("bloat", settings=settings)
    job = app.job(nothing)
    watching = await asyncpg.connect(url)
    submits: list[float] = []
    samples: list[Sample] = []

    async def submitter(numbers: range) -> None:
        for number in numbers:
            began = time.perf_counter()
            await job.submit(number)
            submits.append(time.perf_counter() - began)

    async def completed(count: int) -> bool:
        return app.metrics.jobs.completions.value() >= count

    async def pruned() -> bool:
        return not await watching.fetchval("SELECT EXISTS (SELECT FROM holdfast_job_archive)")

    async with app.runner(store=url):
        settle_for_running()
        wal_before, began = await _wal(watching), time.perf_counter()
        slice_ = jobs // SAMPLES
        for place in range(SAMPLES):
            first = place * slice_
            await asyncio.gather(*(submitter(range(first + task, first + slice_, TASKS)) for task in range(TASKS)))
            # Their ends too: a backlog is no bloat.
            await _until(partial(completed, first + slice_), PATIENCE_S)
            samples.append(await _sample(watching))
        done = slice_ * SAMPLES
        seconds, wal = time.perf_counter() - began, await _wal(watching) - wal_before
        await _until(pruned, PATIENCE_S + keep_s)
    await watching.execute("VACUUM")
    empty = await _sample(watching)
    await watching.close()
    return _report(samples, empty, submits, done=done, seconds=seconds, wal=wal)


def _report(
    samples: list[Sample], empty: Sample, submits: list[float], *, done: int, seconds: float, wal: int
) -> dict[str, Any]:
    totals = [sum(table.total for table in sample.values()) for sample in samples]
    half = len(samples) // 2
    quantiles = statistics.quantiles(submits, n=1000)
    return {
        "question": "the size of the store on PostgreSQL while jobs go through it",
        "machine": machine(),
        "jobs": done,
        "jobs_per_s": round(done / seconds),
        "wal_bytes_per_job": round(wal / done),
        "submit_ms": {"p50": _ms(quantiles[499]), "p99": _ms(quantiles[989]), "max": _ms(max(submits))},
        "total_mb": [round(total / 1e6, 1) for total in totals],
        "growth": round(max(totals[half:]) / max(totals[:half]), 2),
        "tables": [_row(name, samples, empty[name], done) for name in empty],
    }


def _row(name: str, samples: list[Sample], empty: Table, done: int) -> dict[str, Any]:
    peak = max((sample[name] for sample in samples), key=lambda table: table.total)
    return {
        "table": name.removeprefix("holdfast_"),
        "peak_mb": round(peak.total / 1e6, 2),
        "of_it_indexes_mb": round(peak.indexes / 1e6, 2),
        "live_rows_then": peak.live,
        "dead_rows_then": peak.dead,
        "empty_mb": round(empty.total / 1e6, 2),
        "writes_per_job": round((empty.inserted + empty.updated + empty.deleted) / done, 3),
        "updates_in_place": round(empty.updated_in_place / empty.updated, 3) if empty.updated else None,
        "autovacuums": empty.vacuums,
    }


async def _sample(connection: Any) -> Sample:
    return {row[0]: Table(*row) for row in await connection.fetch(TABLES)}


async def _wal(connection: Any) -> int:
    return int(await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))


async def _until(so: Callable[[], Awaitable[bool]], patience_s: float) -> None:
    async with asyncio.timeout(patience_s):
        while not await so():  # noqa: ASYNC110 - there is no event in a database to wait for
            await asyncio.sleep(0.2)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


async def _look_often(url: str, naptime_s: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"ALTER SYSTEM SET autovacuum_naptime = {naptime_s}")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--keep", type=float, default=15.0, help="seconds that finished jobs are kept")
    parser.add_argument("--naptime", type=int, default=5, help="autovacuum_naptime of the server of its own, in s")
    parser.add_argument("--store", default=None, help="the URL of an empty database (default: a server of its own)")
    parser.add_argument("--store-dir", default=None, help="where the server of its own puts its data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with database(options.store, options.store_dir) as url:
        if options.store is None:
            asyncio.run(_look_often(url, options.naptime))
        found = uvloop.run(measured(url, options.jobs, options.keep))
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        return
    tables = found.pop("tables")
    for name, value in found.items():
        print(f"{name:>18}: {value}")
    print("  ".join(tables[0]))
    for row in tables:
        print("  ".join(f"{value!s:>{len(name)}}" for name, value in row.items()))


if __name__ == "__main__":
    main()
