"""What does a group commit on SQLite (WAL, synchronous=FULL) cost per unit, and how much of it is ours?

Run it with `python benchmarks/storage_write.py` (`--json` for machines, `--rounds N`, `--dir` for another disk). Each
figure is the median CPU time of one unit of a batch, in microseconds, ours beside plain apsw doing the same inserts
on the same tables, batch after batch in turns, so that both meet the same noise. `commit` is what a transaction of one
row costs by itself (mostly the kernel's part of the fsync) and is contained in the other two columns, shared by the
batch; `wall` is the time of a whole batch of ours by the clock.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import apsw

from holdfast.model.job import JobEnd, JobRow
from holdfast.model.message import Consume, DoneRow, MessageRow, StateRow
from holdfast.model.unit import Row, Unit
from holdfast.ports.membership import Registration
from holdfast.ports.store import RunnerStore
from holdfast.storage.open import open_runner_store
from holdfast.storage.sqlite.store import STATEMENTS_PACKAGE
from holdfast.storage.statements import load_statements

BATCH = 64
ENTITIES = 1_000
SHARDS = 64
NOW = 1_763_000_000_000_000

SQL = load_statements(STATEMENTS_PACKAGE)
Batch = list[tuple[Row, ...]]
Raw = Callable[[apsw.Connection, Batch], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """Microseconds of CPU per unit, but `wall_ms`: milliseconds by the clock per batch."""

    what: str
    holdfast: float
    apsw: float
    commit: float
    wall_ms: float

    @property
    def beyond_the_commit(self) -> float:
        return self.holdfast - self.commit


def done(number: int) -> DoneRow:
    who = f"cart-{number % ENTITIES}"
    return DoneRow(number, 3, "Cart", who, "add", None, b"12345678", 0, b"\x02", 1, NOW, NOW, 1, 1)


def message(number: int) -> MessageRow:
    who, payload = f"cart-{number % ENTITIES}", b"\x92\xa5apple\x02"
    facts = (payload, b"12345678", None, None, 0, None, 0, 0, 0, 0, None, NOW, 1)
    return MessageRow(number, number % SHARDS, "Cart", who, "add", *facts)


def job(number: int) -> JobRow:
    facts = (b"\x91\xa3o-1", b"", None, None, 5, 30_000_000, 0, NOW, 0, 0, None, NOW, 1, None, None)
    return JobRow(number, number % SHARDS, "send_receipt", 2, *facts)


def end(number: int) -> JobEnd:
    return JobEnd(number, 0, "completed", b"\x01", None, None, 1, NOW, 1)


class Workloads:
    """Batches of each kind, made before they are timed; versions and ids go on from one to the next."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ids = itertools.count(1)
        self.versions = dict.fromkeys(range(ENTITIES), 0)

    def first_states(self) -> Batch:
        self.versions = dict.fromkeys(range(ENTITIES), 1)
        return [(StateRow(3, "Cart", f"cart-{who}", 1, 1, b"s" * 60),) for who in range(ENTITIES)]

    def state_and_done(self) -> Batch:
        return [(self._state(who), done(next(self.ids))) for who in self.random.sample(range(ENTITIES), BATCH)]

    def _state(self, who: int) -> StateRow:
        self.versions[who] += 1
        return StateRow(3, "Cart", f"cart-{who}", self.versions[who], 1, b"s" * 60)

    def messages(self) -> Batch:
        return [(message(number),) for number in itertools.islice(self.ids, BATCH)]

    def jobs(self) -> Batch:
        return [(job(number),) for number in itertools.islice(self.ids, BATCH)]


def executemany(name: str, place: int = 0) -> Raw:
    """Plain apsw's part: one statement over one row of each unit."""

    def write(connection: apsw.Connection, batch: Batch) -> None:
        connection.executemany(SQL[name], [rows[place] for rows in batch])

    return write


def both(*parts: Raw) -> Raw:
    def write(connection: apsw.Connection, batch: Batch) -> None:
        for part in parts:
            part(connection, batch)

    return write


def delete_jobs(connection: apsw.Connection, batch: Batch) -> None:
    connection.executemany(SQL["job_delete"], [(rows[0].id,) for rows in batch])


RAW: dict[str, Raw] = {
    "state": executemany("state_update", 0),
    "done": executemany("done_insert", 1),
    "message": executemany("message_insert"),
    "consume": executemany("message_consume", 0),
    "job": executemany("job_insert"),
    "end": both(executemany("job_archive"), delete_jobs),
}


class Bench:
    """One file for us and one for plain apsw, with the same tables."""

    def __init__(self, store: RunnerStore, raw: apsw.Connection, rounds: int) -> None:
        self.store = store
        self.raw = raw
        self.rounds = rounds
        self.commit_us = self.commit_alone()

    def commit_alone(self) -> float:
        """CPU of a transaction of one row, per unit of a batch."""
        found: list[float] = []
        for number in range(self.rounds):
            started = time.process_time()
            self.raw.execute("BEGIN IMMEDIATE")
            self.raw.execute("UPDATE holdfast_counter SET next = ? WHERE name = 'runner'", (number,))
            self.raw.execute("COMMIT")
            found.append(time.process_time() - started)
        return statistics.median(found) / BATCH * 1e6

    def measure(self, what: str, batches: Iterator[Batch], raw: Raw) -> Figure:
        ours: list[float] = []
        theirs: list[float] = []
        walls: list[float] = []
        for batch in itertools.islice(batches, self.rounds):
            units = [unit(rows) for rows in batch]
            wall, started = time.perf_counter(), time.process_time()
            self.store.journal.commit(units)
            ours.append(time.process_time() - started)
            walls.append(time.perf_counter() - wall)
            started = time.process_time()
            self.write_raw(raw, batch)
            theirs.append(time.process_time() - started)
        cpu, cpu_raw = (statistics.median(found) / BATCH * 1e6 for found in (ours, theirs))
        return Figure(what, cpu, cpu_raw, self.commit_us, statistics.median(walls) * 1e3)

    def write_raw(self, raw: Raw, batch: Batch) -> None:
        self.raw.execute("BEGIN IMMEDIATE")
        raw(self.raw, batch)
        self.raw.execute("COMMIT")

    def prepare(self, batch: Batch, raw: Raw) -> None:
        """Writes to both files without timing it."""
        self.store.journal.commit([unit(rows) for rows in batch])
        self.write_raw(raw, batch)


def unit(rows: tuple[Row, ...]) -> Unit:
    made = Unit()
    for row in rows:
        made.add(row)
    return made


def figures(bench: Bench) -> Iterator[Figure]:
    load = Workloads(seed=7)
    bench.prepare(load.first_states(), executemany("state_insert"))
    yield bench.measure(
        f"state and outcome, {ENTITIES} entities", forever(load.state_and_done), both(RAW["state"], RAW["done"])
    )
    stored: list[Batch] = []
    yield bench.measure("durable message stored", kept(forever(load.messages), stored), RAW["message"])
    consumed = ([(Consume(rows[0].id), done(rows[0].id)) for rows in batch] for batch in stored)
    yield bench.measure("and consumed, with its outcome", consumed, both(RAW["consume"], RAW["done"]))
    yield from jobs(bench, load, "job stored and ended, nothing else waiting", backlog=0)
    yield from jobs(bench, load, "job stored and ended behind 200,000 others", backlog=200_000)


def jobs(bench: Bench, load: Workloads, what: str, *, backlog: int) -> Iterator[Figure]:
    """A batch is stored, then ended, so that the table stays as full as `backlog` says."""
    for _ in range(backlog // BATCH):
        bench.prepare(load.jobs(), RAW["job"])
    stored, ended = [], []
    for _ in range(bench.rounds):
        batch = load.jobs()
        stored.append(bench_once(bench, batch, RAW["job"]))
        ended.append(bench_once(bench, [(end(rows[0].id),) for rows in batch], RAW["end"]))
    yield median_of(f"{what}: stored", stored)
    yield median_of(f"{what}: ended", ended)


def bench_once(bench: Bench, batch: Batch, raw: Raw) -> Figure:
    rounds, bench.rounds = bench.rounds, 1
    figure = bench.measure("", iter([batch]), raw)
    bench.rounds = rounds
    return figure


def median_of(what: str, found: list[Figure]) -> Figure:
    columns = ("holdfast", "apsw", "commit", "wall_ms")
    return Figure(what, *(statistics.median(getattr(figure, column) for figure in found) for column in columns))


def forever(make: Callable[[], Batch]) -> Iterator[Batch]:
    while True:
        yield make()


def kept(batches: Iterator[Batch], into: list[Batch]) -> Iterator[Batch]:
    for batch in batches:
        into.append(batch)
        yield batch


async def measure(folder: Path, rounds: int) -> list[Figure]:
    store = await open_runner_store(f"sqlite:///{folder}/ours.db")
    other = await open_runner_store(f"sqlite:///{folder}/apsw.db")  # makes the same tables
    await other.close()
    await store.membership.register(Registration("", "benchmark", (), (), 1.0, 6_000_000))
    raw = apsw.Connection(f"{folder}/apsw.db")
    raw.execute("PRAGMA synchronous = FULL; PRAGMA cache_size = -65536")
    try:
        return list(figures(Bench(store, raw, rounds)))
    finally:
        raw.close()
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--dir", type=Path, help="where the files lie; the system's temporary folder otherwise")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        found = asyncio.run(measure(Path(folder), args.rounds))
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
    machine += f"apsw {apsw.apsw_version()}"
    if args.json:
        print(
            json.dumps({"machine": machine, "batch": BATCH, "figures": [asdict(figure) for figure in found]}, indent=2)
        )
        return
    print(f"{machine}; batches of {BATCH}, medians of {args.rounds}; µs of CPU per unit, ms per batch by the clock\n")
    print(f"{'':52} {'holdfast':>9} {'apsw':>7} {'commit':>7} {'wall ms':>8}")
    for figure in found:
        columns = f"{figure.holdfast:9.2f} {figure.apsw:7.2f} {figure.commit:7.2f} {figure.wall_ms:8.2f}"
        print(f"{figure.what:52} {columns}")


if __name__ == "__main__":
    main()
