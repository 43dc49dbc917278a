"""How fast are messages that change saved state on SQLite FULL, from callers in the runner's own process?

64 callers in flight: volatile messages over 1,000 entities, the same on one single entity (bursts commit as one unit),
and durable messages over 1,000 entities and on one. Beside it, in the same run, what bare apsw does with one row per
transaction and with 64 rows per transaction on the same disk. Figures are per second of wall-clock time.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import apsw
import uvloop
from report import Report, arguments

from holdfast import App, Entity, message

CALLS = 20_000
IN_FLIGHT = 64
ENTITIES = 1_000

app = App("saved_state")


@dataclass
class Total:
    value: int = 0


@app.entity
class Account(Entity[Total]):
    @message
    async def add(self, by: int) -> int:
        self.state.value += by
        return self.state.value

    @message(durable=True)
    async def deposit(self, by: int) -> int:
        self.state.value += by
        return self.state.value


async def main() -> None:
    options = arguments(__doc__, runs=3)
    report = Report("messages that change saved state, SQLite FULL, 64 in flight, callers in the runner's process")
    names = (
        "bare apsw, 1 row a commit",
        "bare apsw, 64 rows a commit",
        "volatile, 1,000 entities",
        "volatile, one entity",
        "durable, 1,000 entities",
        "durable, one entity",
    )
    runs: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=options.store_dir) as folder:
        async with app.runner(store=f"sqlite:///{folder}/bench.db"):
            accounts = [app.ref(Account, f"a{number}") for number in range(ENTITIES)]
            for run in range(options.runs + 1):
                measured = (
                    bare_rows_per_s(Path(folder), 1),
                    bare_rows_per_s(Path(folder), 64),
                    await per_second([account.add for account in accounts]),
                    await per_second([accounts[0].add]),
                    await per_second([account.deposit for account in accounts]),
                    await per_second([accounts[0].deposit]),
                )
                if run:
                    for name, figure in zip(names, measured, strict=True):
                        runs[name].append(figure)
    bounds = {
        names[2]: (20_000, 40_000),
        names[3]: (8_000, 20_000),
        names[4]: (20_000, 35_000),
        names[5]: (8_000, 20_000),
    }
    for name in names:
        must, aim = bounds.get(name, (None, None))
        report.add(name, "/s", runs[name], must=must, aim=aim)
    report.show(as_json=options.json)


async def per_second(calls: list[Callable[[int], Awaitable[int]]]) -> float:
    turns = iter(range(CALLS))

    async def caller() -> None:
        for turn in turns:
            await calls[turn * 7919 % len(calls)](1)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return CALLS / (time.perf_counter() - began)


def bare_rows_per_s(folder: Path, batch: int, seconds: float = 0.7) -> float:
    """Rows per second of a plain append table, one transaction per batch, as durable as the store's own commits."""
    connection = apsw.Connection(str(folder / f"bare{batch}.db"))
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, body BLOB)")
    began, rows = time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO row (body) VALUES (?)", ((b"x" * 64,) for _ in range(batch)))
        connection.execute("COMMIT")
        rows += batch
    connection.close()
    return rows / taken


if __name__ == "__main__":
    uvloop.run(main())
