"""How soon does a submitted job start, beside other queues on PostgreSQL? Submit to start at 50 jobs a second.

    python benchmarks/peers.py [--only NAME ...] [--runs N] [--jobs N] [--url postgresql://...] [--json]

Each contender has a worker in a process of its own and a submitter in another, and one database on the same server,
fsync on. The time counts from before the submit is called until the job's function runs; all queues are idle otherwise,
use their documented defaults, and take turns run by run. The peers, `pgqueuer` and `oban` (Python 3.12 or later), are
measured where they are installed: `pip install pgqueuer oban`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import multiprocessing
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from typing import Any

import uvloop
from database import database
from report import Report

from holdfast import App
from holdfast.cli.collector import settle_for_running

PACE_S = 0.02
QUEUE_SLOTS = 10
PATIENCE_S = 60.0

Submit = Callable[[float], Awaitable[object]]
Submitting = contextlib.AbstractAsyncContextManager[Submit]

app = App("peers_benchmark")
waits: list[float] = []


def started(submitted_at: float) -> None:
    """A job runs; the monotonic clock is one for all processes of a machine."""
    waits.append(time.monotonic() - submitted_at)


@app.job
async def note(submitted_at: float) -> None:
    started(submitted_at)


class Holdfast:
    @contextlib.asynccontextmanager
    async def work(self, url: str) -> AsyncIterator[None]:
        async with app.runner(store=url):
            settle_for_running()
            yield

    @contextlib.asynccontextmanager
    async def submitting(self, url: str) -> AsyncIterator[Submit]:
        async with app.client(store=url):
            yield note.submit


class PgQueuer:
    @contextlib.asynccontextmanager
    async def work(self, url: str) -> AsyncIterator[None]:
        import asyncpg
        from pgqueuer import PgQueuer as Queue

        connection = await asyncpg.connect(url)
        queue = Queue.from_asyncpg_connection(connection)
        await queue.qm.queries.install()

        @queue.entrypoint("note")
        async def note(job: Any) -> None:
            started(float(job.payload))

        running = asyncio.create_task(queue.run())
        try:
            yield
        finally:
            queue.shutdown.set()
            await running
            await connection.close()

    @contextlib.asynccontextmanager
    async def submitting(self, url: str) -> AsyncIterator[Submit]:
        import asyncpg
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries

        connection = await asyncpg.connect(url)
        queries = Queries(AsyncpgDriver(connection))
        yield lambda at: queries.enqueue("note", repr(at).encode())
        await connection.close()


class Oban:
    @contextlib.asynccontextmanager
    async def work(self, url: str) -> AsyncIterator[None]:
        from oban import Oban as Queue
        from oban import schema, worker

        class Note:
            async def process(self, job: Any) -> None:
                started(job.args["at"])

        Note.__module__, Note.__qualname__ = "peers", "Note"  # its name in the queue
        worker(queue="default")(Note)
        pool = await Queue.create_pool(dsn=url)
        await schema.install(pool)
        async with Queue(pool=pool, queues={"default": QUEUE_SLOTS}):
            yield
        await pool.close()

    @contextlib.asynccontextmanager
    async def submitting(self, url: str) -> AsyncIterator[Submit]:
        from oban import Oban as Queue
        from oban.job import Job

        pool = await Queue.create_pool(dsn=url)
        queue = Queue(pool=pool, name="submitter")
        yield lambda at: queue.enqueue(Job(worker="peers.Note", queue="default", args={"at": at}))
        await pool.close()


CONTENDERS: dict[str, Any] = {"holdfast": Holdfast, "pgqueuer": PgQueuer, "oban": Oban}


def serve(name: str, url: str, pipe: Pipe) -> None:
    """A worker's process: on each number it answers with that many waits, once there are so many; on 0 it ends."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with CONTENDERS[name]().work(url):
            pipe.send("serving")
            while count := await loop.run_in_executor(None, pipe.recv):
                async with asyncio.timeout(PATIENCE_S):
                    while len(waits) < count:  # noqa: ASYNC110 - whatever told us would cost the job time
                        await asyncio.sleep(0.05)
                pipe.send(waits[:])
                waits.clear()

    uvloop.run(run())


@contextlib.contextmanager
def worker_process(name: str, url: str) -> Iterator[Pipe]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(name, url, there), daemon=True)
    process.start()
    try:
        here.recv()
        yield here
    finally:
        with contextlib.suppress(BrokenPipeError):
            here.send(0)
        process.join(30)
        process.kill()


async def paced(submitting: Submitting, pipe: Pipe, jobs: int) -> list[float]:
    """How long each job waited, in milliseconds, shortest first."""
    async with submitting as submit:
        await submit(time.monotonic())
        pipe.send(1)
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)  # the way is warm
        async with asyncio.TaskGroup() as group:
            for _ in range(jobs):
                group.create_task(_awaited(submit(time.monotonic())))
                await asyncio.sleep(PACE_S)
        pipe.send(jobs)
        waited: list[float] = await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    return sorted(wait * 1e3 for wait in waited)


async def _awaited(submitted: Awaitable[object]) -> None:
    await submitted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--url", default=None, help="a PostgreSQL with an empty database; default: one from a wheel")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(sys.argv[1:])
    names = [name for name in options.only if importlib.util.find_spec(name)]
    if missing := set(options.only) - set(names):
        print(f"not installed, so not measured: {', '.join(sorted(missing))}", file=sys.stderr)
    report = Report("submit to start at 50 jobs/s on PostgreSQL, fsync on, worker and submitter in two processes")
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    with database(options.url) as url:
        for _ in range(options.runs):
            for name in names:
                with empty_database(url, name) as own, worker_process(name, own) as pipe:
                    found[name].append(uvloop.run(paced(CONTENDERS[name]().submitting(own), pipe, options.jobs)))
    for name, runs in found.items():
        report.add(f"{name}, p50", "ms", [statistics.median(waits) for waits in runs])
        report.add(f"{name}, p99", "ms", [waits[int(len(waits) * 0.99)] for waits in runs])
    report.show(as_json=options.json)


@contextlib.contextmanager
def empty_database(url: str, name: str) -> Iterator[str]:
    """A database of the server for one run of one contender."""
    import asyncpg

    async def run(sql: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(sql)
        await connection.close()

    database_name = f"peers_{name}"
    asyncio.run(run(f"CREATE DATABASE {database_name}"))
    base, mark, query = url.partition("?")
    try:
        yield f"{base.rsplit('/', 1)[0]}/{database_name}{mark}{query}"
    finally:
        asyncio.run(run(f"DROP DATABASE {database_name} WITH (FORCE)"))


if __name__ == "__main__":
    main()
