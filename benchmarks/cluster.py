"""What do runners on PostgreSQL carry? Calls between two of them, durable messages, jobs, and how soon a job starts.

    python benchmarks/cluster.py [--only NAME ...] [--runs N] [--url postgresql://...] [--json]

`across`: volatile request/reply from one runner to entities that the other owns, 64 in flight, and one at a time.
`durable`: request/reply that changes saved state, from a client in another process, 64 and 512 in flight, one runner.
`jobs`: no-op jobs, each submitted by itself by 64 tasks of the runner, processed at the same time. `backlog`: 200,000
no-op jobs stored beforehand, processed by one runner. `start`: submit to start at 50 jobs a second. fsync is on, all
metrics are on, uvloop in every process; rates are wall-clock, the CPU beside them is that of the processes per call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

import uvloop
from database import database
from report import Report

from holdfast import App, Entity, JobHandle, message
from holdfast.cli.collector import settle_for_running

ENTITIES = 1_000
CALLS = 20_000
JOBS = 20_000
BACKLOG = 200_000
PACED_JOBS = 500
PACE_S = 0.02
PATIENCE_S = 600.0

app = App("cluster_benchmark")


@dataclass
class Total:
    value: int = 0


@app.entity
class Account(Entity[Total]):
    @message(durable=True)
    async def deposit(self, by: int) -> int:
        self.state.value += by
        return self.state.value


@app.entity
class Counter(Entity[None]):
    def __init__(self) -> None:
        self.value = 0

    @message
    async def add(self, by: int) -> int:
        self.value += by
        return self.value

    @message
    async def cpu_s(self) -> float:
        """CPU seconds that the process has used."""
        return time.process_time()


@app.job
async def nothing() -> None:
    """The job."""


@app.job
async def when() -> float:
    """The moment it starts, on the machine's monotonic clock, which all its processes share."""
    return time.monotonic()


def serve(store: str, pipe: Pipe) -> None:
    """A runner's process: until the other end of the pipe says so."""

    async def run() -> None:
        async with app.runner(store=store):
            settle_for_running()  # as `holdfast run` does
            pipe.send("serving")
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    uvloop.run(run())


@contextlib.contextmanager
def runner_process(store: str) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    runner = context.Process(target=serve, args=(store, there), daemon=True)
    runner.start()
    try:
        here.recv()
        yield
    finally:
        here.send("stop")
        runner.join(60)
        runner.kill()


Call = Callable[[int], Awaitable[object]]


async def rate(calls: Sequence[Call], count: int, in_flight: int) -> tuple[float, float]:
    """Calls per second, and this process's CPU per call in microseconds."""
    turns = iter(range(count))

    async def caller() -> None:
        for turn in turns:
            await calls[turn * 7919 % len(calls)](1)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return count / (time.perf_counter() - began), (time.process_time() - cpu) / count * 1e6


async def alone_us(call: Call) -> float:
    taken = []
    for _ in range(500):
        began = time.perf_counter()
        await call(1)
        taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken)


async def across(store: str, report: Report, runs: int) -> None:
    with runner_process(store):
        async with app.runner(store=store):
            settle_for_running()
            async with asyncio.timeout(60):
                while len({shard.runner_id for shard in await app.cluster.shards()} - {0}) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                await asyncio.sleep(2.0)  # until the shards have come out even
            own = int(app.cluster.health().checks[0].detail.split()[-1])  # "runner N"
            away: list[Counter] = []
            for number in range(3 * ENTITIES):
                owner = await app.cluster.where(Counter, f"c{number}")
                if owner is not None and owner.runner_id != own:
                    away.append(app.ref(Counter, f"c{number}"))
                if len(away) == ENTITIES:
                    break
            calls = [counter.add for counter in away]
            await rate(calls, CALLS, 64)
            found, cpu_here, cpu_there, alone = [], [], [], []
            for _ in range(runs):
                before = await away[0].cpu_s()
                per_s, cpu_us = await rate(calls, 3 * CALLS, 64)
                found.append(per_s)
                cpu_here.append(cpu_us)
                cpu_there.append((await away[0].cpu_s() - before) / (3 * CALLS) * 1e6)
                alone.append(await alone_us(calls[0]))
    report.add("two runners, volatile across, 64 in flight", "/s", found, must=80_000, aim=120_000)
    report.add("  CPU of the caller per call", "us", cpu_here)
    report.add("  CPU of the owner per call", "us", cpu_there)
    report.add("  p50 with one caller", "us", alone, must=200, aim=200)


async def durable(store: str, report: Report, runs: int) -> None:
    with runner_process(store):
        async with app.client(store=store):
            calls = [app.ref(Account, f"a{number}").deposit for number in range(ENTITIES)]
            runner = app.ref(Counter, "c0")
            await rate(calls, CALLS, 64)
            for in_flight, must, aim in ((64, 12_000, 20_000), (512, 22_000, 35_000)):
                found, cpu_here, cpu_there = [], [], []
                for _ in range(runs):
                    before = await runner.cpu_s()
                    per_s, cpu_us = await rate(calls, CALLS, in_flight)
                    found.append(per_s)
                    cpu_here.append(cpu_us)
                    cpu_there.append((await runner.cpu_s() - before) / CALLS * 1e6)
                report.add(f"durable request/reply, {in_flight} in flight", "/s", found, must=must, aim=aim)
                report.add("  CPU of the client per call", "us", cpu_here)
                report.add("  CPU of the runner per call", "us", cpu_there)
            report.add("durable, p50 with one caller", "us", [await alone_us(calls[1]) for _ in range(runs)])


async def completed(count: float) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while app.metrics.value("jobs_completed_total", job_type="nothing") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def jobs(store: str, report: Report, runs: int) -> None:
    async with app.runner(store=store):
        settle_for_running()
        found, cpu = [], []
        for run in range(runs + 1):
            before = app.metrics.value("jobs_completed_total", job_type="nothing") if run else 0.0

            async def submitter(count: int = JOBS // 64) -> None:
                for _ in range(count):
                    await nothing.submit()

            used, began = time.process_time(), time.perf_counter()
            await asyncio.gather(*(submitter() for _ in range(64)))
            done = JOBS // 64 * 64
            await completed(before + done)
            if run:
                found.append(done / (time.perf_counter() - began))
                cpu.append((time.process_time() - used) / done * 1e6)
    report.add("jobs submitted singly by 64 tasks and processed", "/s", found, must=12_000, aim=20_000)
    report.add("  CPU of the runner per job", "us", cpu)


async def backlog(store: str, report: Report, runs: int) -> None:
    found, cpu = [], []
    for _ in range(runs):
        async with app.runner(store=store):
            later = nothing.opts(delay=86_400.0)
            for _ in range(BACKLOG // 10_000):
                await app.jobs.submit_many([later.call() for _ in range(10_000)])
        await release_backlog(store)
        before = app.metrics.value("jobs_completed_total", job_type="nothing")
        used, began = time.process_time(), time.perf_counter()
        async with app.runner(store=store):
            settle_for_running()
            await completed(before + BACKLOG)
            found.append(BACKLOG / (time.perf_counter() - began))
            cpu.append((time.process_time() - used) / BACKLOG * 1e6)
    report.add("a backlog of 200,000 jobs, one runner, its start included", "/s", found, must=25_000, aim=40_000)
    report.add("  CPU of the runner per job", "us", cpu)


async def release_backlog(store: str) -> None:
    """The delayed jobs become available now, while nobody runs: as if they had come in faster than they were done."""
    import asyncpg

    connection = await asyncpg.connect(store)
    await connection.execute("UPDATE holdfast_job SET due_at = 0, eligible_at = eligible_at")
    await connection.execute("VACUUM ANALYZE holdfast_job")
    await connection.close()


async def submit_one() -> tuple[float, JobHandle[float]]:
    submitted = time.monotonic()
    return submitted, await when.submit()


async def start(store: str, report: Report, runs: int) -> None:
    with runner_process(store):
        async with app.client(store=store):
            medians, tails = [], []
            for _ in range(runs):
                async with asyncio.TaskGroup() as paced:
                    submits = []
                    for _ in range(PACED_JOBS):
                        submits.append(paced.create_task(submit_one()))
                        await asyncio.sleep(PACE_S)
                handles = [submit.result() for submit in submits]
                taken = sorted([(await handle.result(timeout=60) - at) * 1e3 for at, handle in handles])
                medians.append(statistics.median(taken))
                tails.append(taken[int(len(taken) * 0.99)])
    report.add("submit to start at 50 jobs/s, p50", "ms", medians)
    report.add("submit to start at 50 jobs/s, p99", "ms", tails)


QUESTIONS = {"across": across, "durable": durable, "jobs": jobs, "backlog": backlog, "start": start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(QUESTIONS), default=sorted(QUESTIONS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--url", default=None, help="a PostgreSQL with an empty database; default: one from a wheel")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(sys.argv[1:])
    report = Report("runners on PostgreSQL, fsync on, all metrics on")
    for name in options.only:
        with database(options.url) as url:
            uvloop.run(QUESTIONS[name](url, report, options.runs))
    report.show(as_json=options.json)


if __name__ == "__main__":
    main()
