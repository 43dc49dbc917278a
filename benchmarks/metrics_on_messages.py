"""What do all the metrics cost a message and a job?

Two runners in one process, each with a store of its own: one counts as always, of the other every counter and every
histogram does nothing when it is told something (the call of it remains). Both are given the same work in short turns,
64 tasks at a time: volatile request/reply without stored state, volatile and durable request/reply that changes saved
state, and no-op jobs submitted, processed and waited for, all on SQLite FULL. The cost is the difference of their CPU
time, the median over all pairs of turns, since a neighbour on the machine hits both arms of a short pair alike.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import uvloop
from report import Report, arguments

from holdfast import App, Entity, message
from holdfast.cli.collector import settle_for_running
from holdfast.metrics import CounterChild, HistogramChild, instruments

PAIRS = 120
WARM_UP = 10
IN_FLIGHT = 64
ENTITIES = 1_000

Work = Callable[[int], Awaitable[object]]


class MuteCounter(CounterChild):
    def inc(self, n: float = 1) -> None:
        pass


class MuteHistogram(HistogramChild):
    def observe(self, seconds: float) -> None:
        pass


@contextmanager
def muted() -> Generator[None, None, None]:
    """What is made meanwhile counts nothing."""
    kept = instruments.CounterChild, instruments.HistogramChild
    instruments.CounterChild, instruments.HistogramChild = MuteCounter, MuteHistogram
    try:
        yield
    finally:
        instruments.CounterChild, instruments.HistogramChild = kept


@dataclass
class Total:
    value: int = 0


def program(name: str) -> tuple[App, Callable[[], dict[str, tuple[int, Work]]]]:
    """An App of its own, and how many of which operations a turn has."""
    app = App(name)

    @app.entity
    class Counter(Entity[None]):
        def __init__(self) -> None:
            self.value = 0

        @message
        async def add(self, by: int) -> int:
            self.value += by
            return self.value

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

    @app.job
    async def nothing() -> None:
        pass

    def work() -> dict[str, tuple[int, Work]]:
        adds = [app.ref(Counter, f"c{number}").add for number in range(ENTITIES)]
        accounts = [app.ref(Account, f"a{number}") for number in range(ENTITIES)]

        async def job(_: int) -> None:
            await (await nothing.submit()).result()

        return {
            "volatile": (3_000, lambda turn: adds[turn * 7919 % ENTITIES](1)),
            "volatile with saved state": (640, lambda turn: accounts[turn * 7919 % ENTITIES].add(1)),
            "durable": (640, lambda turn: accounts[turn * 7919 % ENTITIES].deposit(1)),
            "job": (640, job),
        }

    return app, work


async def cpu_us(count: int, work: Work) -> float:
    turns = iter(range(count))

    async def caller() -> None:
        for turn in turns:
            await work(turn)

    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return (time.process_time() - began) / count * 1e6


async def main() -> None:
    options = arguments(__doc__, runs=PAIRS)
    report = Report("cost of all metrics, by CPU time, two runners in turns, 64 in flight, SQLite FULL")
    counting, counting_work = program("counting")
    silent, silent_work = program("silent")
    with tempfile.TemporaryDirectory(dir=options.store_dir) as folder:
        async with counting.runner(store=f"sqlite:///{folder}/counting.db"):
            with muted():
                opening = silent.runner(store=f"sqlite:///{folder}/silent.db")
                await opening.__aenter__()
                for count, work in silent_work().values():
                    await cpu_us(count, work)  # binds what is bound late
            settle_for_running()
            try:
                for name, (count, work) in counting_work().items():
                    await compare(report, name, count, work, silent_work()[name][1], options.runs)
            finally:
                await opening.__aexit__(None, None, None)
    report.show(as_json=options.json)


async def compare(report: Report, name: str, count: int, counting: Work, silent: Work, pairs: int) -> None:
    on, off = [], []
    for pair in range(pairs + WARM_UP):
        arms = [(on, counting), (off, silent)]
        for kept, work in arms if pair % 2 else reversed(arms):
            kept.append(await cpu_us(count, work))
    on, off = on[WARM_UP:], off[WARM_UP:]
    cost = statistics.median((ours / theirs - 1) * 100 for ours, theirs in zip(on, off, strict=True))
    limit = 10 if name == "volatile" else 3
    report.add(f"{name}: with metrics", "us", on)
    report.add(f"{name}: metrics observe nothing", "us", off)
    report.add(f"{name}: cost of all metrics", "%", [cost], must=limit, aim=limit)


if __name__ == "__main__":
    uvloop.run(main())
