"""How many no-op jobs does one runner take in and process, each submitted by itself and stored on SQLite FULL?

    python benchmarks/jobs.py [--tasks 64] [--jobs 20000] [--runs 5] [--json]

`--tasks` tasks submit one job after the other, each waiting until its job is on disk; the clock stops when every job
has been run and its end is on disk. All metrics are on. The store is a file in a temporary directory (`--directory`
puts it on another disk). Next to the median stand the CPU time per job, since a shared machine's disk and cores vary,
and what a bare commit and a bare loop cost there at that moment.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import apsw

from holdfast.errors import Conflict
from holdfast.jobs.definition import declare_job
from holdfast.jobs.engine import JobEngine
from holdfast.jobs.surroundings import Surroundings
from holdfast.kit.batching import GroupCommit
from holdfast.kit.clock import SystemClock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.model.cluster import GroupRow
from holdfast.model.placement import Placement
from holdfast.ports.commits import CommitItem
from holdfast.ports.membership import Registration
from holdfast.settings import Settings
from holdfast.storage.open import open_runner_store

SHARDS = 64


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run."""

    jobs_per_s: float
    cpu_us_per_job: float
    flushes: int


async def nothing() -> None:
    """The job."""


async def measured(path: Path, *, tasks: int, jobs: int) -> Run:
    """A runner over a new file; all that a node would set up, without a node."""
    loop, settings, clock, metrics = asyncio.get_running_loop(), Settings(), SystemClock(), MetricsService()
    store = await open_runner_store(f"sqlite:///{path}", clock=clock)
    runner_id = await store.membership.register(Registration("", "benchmark", (), (), 1.0, 60_000_000))
    flushes = 0

    def commit(items: Sequence[CommitItem]) -> Awaitable[None] | None:
        nonlocal flushes
        flushes += 1
        return store.journal.commit(items)

    wheel = DeadlineWheel(loop)
    commits: GroupCommit[CommitItem] = GroupCommit(
        commit,
        loop=loop,
        splits=lambda error: isinstance(error, Conflict),
        rows_max=settings.commit.batch_rows_max,
        bytes_max=settings.commit.batch_bytes_max,
    )
    around = Surroundings(
        commits=commits,
        journal=store.journal,
        reader=store.jobs,
        ids=IdPool(store.ids.allocate),
        clock=clock,
        random=Random(1),
        wheel=wheel,
        metrics=metrics,
        settings=settings.jobs,
        runner_id=runner_id,
        placement=Placement.of([GroupRow("default", 0, SHARDS, ())]),
        inbox=store.inbox_reader,
    )
    job = declare_job(nothing)
    engine = JobEngine(around, types=[job.declared])
    job.door = lambda: engine
    await engine.start()
    await engine.adopt(range(SHARDS))
    await engine.ready()

    async def submitter(count: int) -> None:
        for _ in range(count):
            await job.submit()

    gc.collect()
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(submitter(jobs // tasks) for _ in range(tasks)))
    for _ in iter(lambda: metrics.value("jobs_completed_total") >= jobs // tasks * tasks, True):
        await asyncio.sleep(0.001)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    done = jobs // tasks * tasks
    ledger = (await store.ledger.ledger()).jobs
    assert [(one.completed, one.live) for one in ledger] == [(done, 0)], ledger
    await engine.stop()
    await commits.close()
    wheel.close()
    await store.close()
    return Run(done / wall, cpu / done * 1e6, flushes)


def bare_commits_per_s(folder: Path, seconds: float = 0.5) -> float:
    """What one row in one transaction costs on this disk: the floor under every flush."""
    connection = apsw.Connection(str(folder / "bare.db"))
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (x)")
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        connection.execute("INSERT INTO t VALUES (1)")
        count += 1
    connection.close()
    return count / (time.perf_counter() - began)


def bare_loop_ns(turns: int = 2_000_000) -> float:
    """CPU time of one turn of the plainest loop: how fast this machine was just now."""
    began, total = time.process_time(), 0
    for number in range(turns):
        total += number
    return (time.process_time() - began) / turns * 1e9


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parsed(arguments)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        folder = Path(name)
        for number in range(options.runs + 1):
            with asyncio.Runner() as runner:
                run = runner.run(measured(folder / f"{number}.db", tasks=options.tasks, jobs=options.jobs))
            runs.append(run)
        bare = bare_commits_per_s(folder)
    del runs[0]  # warms up the interpreter and the disk
    report = {
        "question": "no-op jobs submitted one by one and processed, SQLite FULL, jobs/s",
        "tasks": options.tasks,
        "jobs_per_s": round(statistics.median(run.jobs_per_s for run in runs)),
        "cpu_us_per_job": round(statistics.median(run.cpu_us_per_job for run in runs), 1),
        "jobs_per_flush": round(options.jobs / statistics.median(run.flushes for run in runs), 1),
        "bare_commits_per_s": round(bare),
        "bare_loop_ns": round(bare_loop_ns(), 1),
        "runs": [asdict(run) for run in runs],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"SQLite {apsw.sqlite_lib_version()}, {platform.system()} {platform.release()}",
    }
    if options.json:
        print(json.dumps(report))
        return
    for key, value in report.items():
        print(f"{key:>20}: {value}")


if __name__ == "__main__":
    main(sys.argv[1:])
