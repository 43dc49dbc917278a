"""How soon does a critical job start while millions of low ones wait? One runner on PostgreSQL, its slots always busy.

    python benchmarks/priorities.py [--low 5000000] [--jobs N] [--url postgresql://...] [--json]

First the same load over an empty queue: critical jobs, one every 20 ms, measured from the call of submit to the start
of their handler. Then with so many low jobs stored, which keep every slot busy with handlers of 5 ms. The runner's
memory is read before and after: it holds a window of the backlog, not the backlog.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import asyncpg
import uvloop
from database import database
from report import Report

from holdfast import App, JobHandle
from holdfast.cli.collector import settle_for_running

PACE_S = 0.02
LOW_S = 0.005

app = App("priorities_benchmark")


@app.job(priority="critical")
async def urgent() -> float:
    """The moment it starts."""
    return time.monotonic()


@app.job(priority="low")
async def patient() -> None:
    await asyncio.sleep(LOW_S)


async def starts_ms(count: int) -> list[float]:
    """From submit to start, sorted."""

    async def submit_one() -> tuple[float, JobHandle[float]]:
        submitted = time.monotonic()
        return submitted, await urgent.submit()

    async with asyncio.TaskGroup() as paced:
        submits = []
        for _ in range(count):
            submits.append(paced.create_task(submit_one()))
            await asyncio.sleep(PACE_S)
    submitted = [submit.result() for submit in submits]
    return sorted([(await handle.result(timeout=60) - at) * 1e3 for at, handle in submitted])


async def fill(url: str, low: int) -> None:
    """The backlog, written by the server itself: one job is submitted, and copied with other ids."""
    async with app.runner(store=url):
        template = await patient.opts(delay=86_400.0).submit()
    connection = await asyncpg.connect(url)
    found = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'holdfast_job'::regclass AND attnum > 0"
    )
    names = [row["attname"] for row in found]
    given = {"id": "1000000000000 + n", "shard": "n % 64", "due_at": "0"}
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(given.get(name, f'"{name}"') for name in names)
    await connection.execute(
        f"INSERT INTO holdfast_job ({columns}) SELECT {values} FROM holdfast_job, generate_series(1, {low}) AS n "
        f"WHERE id = {int(template.id)}",
        timeout=3600,
    )
    await connection.execute("VACUUM ANALYZE holdfast_job", timeout=3600)
    await connection.close()


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


async def measure(url: str, low: int, count: int, report: Report) -> None:
    async with app.runner(store=url):
        settle_for_running()
        empty = await starts_ms(count)
        before = resident_mib()
    print(f"storing {low:,} low jobs", file=sys.stderr)
    await fill(url, low)
    async with app.runner(store=url):
        settle_for_running()
        async with asyncio.timeout(60):
            while not app.metrics.value("jobs_completed_total", job_type="patient"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        full = await starts_ms(count)
        after = resident_mib()
    for name, found in (("an empty queue", empty), (f"{low:,} low jobs waiting", full)):
        report.add(f"critical, submit to start, p50, {name}", "ms", [found[len(found) // 2]])
        report.add(f"critical, submit to start, p99, {name}", "ms", [found[int(len(found) * 0.99)]])
    ratio = full[int(len(full) * 0.99)] / empty[int(len(empty) * 0.99)]
    report.add("p99 beside an empty queue's", "x", [ratio], must=2, aim=2)
    report.add("memory of the runner, before and with the backlog", "MiB", [before, after])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--low", type=int, default=5_000_000)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--url", default=None, help="a PostgreSQL with an empty database; default: one from a wheel")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = Report("critical jobs beside a backlog, PostgreSQL, fsync on, all metrics on")
    with database(options.url) as url:
        uvloop.run(measure(url, options.low, options.jobs, report))
    report.show(as_json=options.json)


if __name__ == "__main__":
    main()
