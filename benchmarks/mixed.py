"""Do 256 volatile and 16 durable callers get along on one SQLite runner?

All callers are in the runner's process: volatile calls over 1,000 entities without stored state, durable calls that
change saved state over 100 entities, SQLite FULL. Figures are per second of wall-clock time, both kinds at once.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop
from report import Report, arguments
from saved_state import Account
from saved_state import app as durable_app
from volatile import Counter

SECONDS = 3.0
VOLATILE_CALLERS = 256
DURABLE_CALLERS = 16

app = durable_app
app.entity(Counter)


async def main() -> None:
    options = arguments(__doc__, runs=3)
    report = Report("256 volatile and 16 durable callers together on one SQLite FULL runner")
    volatile, durable = [], []
    with tempfile.TemporaryDirectory(dir=options.store_dir) as folder:
        async with app.runner(store=f"sqlite:///{folder}/bench.db"):
            adds = [app.ref(Counter, f"c{number}").add for number in range(1_000)]
            deposits = [app.ref(Account, f"a{number}").deposit for number in range(100)]
            for run in range(options.runs + 1):
                figures = await together(adds, deposits)
                if run:
                    volatile.append(figures[0])
                    durable.append(figures[1])
    report.add("volatile calls", "/s", volatile, must=90_000, aim=90_000)
    report.add("durable calls", "/s", durable, must=4_000, aim=4_000)
    report.show(as_json=options.json)


async def together(
    adds: list[Callable[[int], Awaitable[int]]], deposits: list[Callable[[int], Awaitable[int]]]
) -> tuple[float, float]:
    counts = [0, 0]
    ends_at = time.perf_counter() + SECONDS

    async def caller(kind: int, number: int, calls: list[Callable[[int], Awaitable[int]]]) -> None:
        while time.perf_counter() < ends_at:
            number += 1
            await calls[number * 7919 % len(calls)](1)
            counts[kind] += 1

    began = time.perf_counter()
    await asyncio.gather(
        *(caller(0, number, adds) for number in range(VOLATILE_CALLERS)),
        *(caller(1, number, deposits) for number in range(DURABLE_CALLERS)),
    )
    taken = time.perf_counter() - began
    return counts[0] / taken, counts[1] / taken


if __name__ == "__main__":
    uvloop.run(main())
