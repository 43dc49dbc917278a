"""How fast are an entity's messages when their caller is in another process?

A runner on SQLite FULL in a process of its own, a client here, one Unix socket between them, all metrics on, uvloop on
both sides. With 64 calls in flight: durable request/reply that changes saved state over 1,000 entities and on one
single entity, one-way durable sends, and volatile request/reply over 1,000 entities without stored state; then the
latency of one call at a time. Calls per second are wall-clock time, CPU is that of each side per call.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

import uvloop
from report import Report, arguments

from holdfast import App, Entity, message
from holdfast.cli.collector import settle_for_running

CALLS = 20_000
IN_FLIGHT = 64
ENTITIES = 1_000
ALONE = 300

app = App("durable_remote")


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
    async def cpu_s(self, _: int) -> float:
        """CPU seconds that the runner's process has used."""
        return time.process_time()


Call = Callable[[int], Awaitable[object]]


@dataclass
class Measured:
    """One run of one kind of call."""

    per_s: float
    client_us: float
    runner_us: float


async def measure(calls: Sequence[Call], count: int, cpu_s: Callable[[int], Awaitable[float]]) -> Measured:
    turns = iter(range(count))

    async def caller() -> None:
        for turn in turns:
            await calls[turn * 7919 % len(calls)](1)

    theirs, ours, began = await cpu_s(0), time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    seconds = time.perf_counter() - began
    ours = time.process_time() - ours
    theirs = await cpu_s(0) - theirs
    return Measured(count / seconds, ours / count * 1e6, theirs / count * 1e6)


async def alone_us(call: Call) -> float:
    taken = []
    for _ in range(ALONE):
        began = time.perf_counter()
        await call(1)
        taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken)


async def talk(store: str, runs: int) -> tuple[dict[str, list[Measured]], dict[str, list[float]]]:
    found: dict[str, list[Measured]] = {}
    alone: dict[str, list[float]] = {}
    async with app.client(store=store):
        accounts = [app.ref(Account, f"a{number}") for number in range(ENTITIES)]
        adds = [app.ref(Counter, f"c{number}").add for number in range(ENTITIES)]
        cpu_s = app.ref(Counter, "c0").cpu_s
        deposits = [account.deposit for account in accounts]
        for run in range(runs + 1):
            measured = {
                "durable request/reply, 1,000 entities": await measure(deposits, CALLS, cpu_s),
                "durable request/reply, one entity": await measure(deposits[:1], CALLS, cpu_s),
                "durable send, 1,000 entities": await measure([one.send for one in deposits], CALLS, cpu_s),
                "volatile request/reply, 1,000 entities": await measure(adds, CALLS * 3, cpu_s),
            }
            latencies = {
                "durable, p50 alone": await alone_us(deposits[1]),
                "volatile, p50 alone": await alone_us(adds[1]),
            }
            if run:
                for name, figure in measured.items():
                    found.setdefault(name, []).append(figure)
                for name, value in latencies.items():
                    alone.setdefault(name, []).append(value)
    return found, alone


def serve(store: str, pipe: Pipe) -> None:
    """The runner's process: until the other end of the pipe says so."""

    async def run() -> None:
        async with app.runner(store=store):
            settle_for_running()  # as `holdfast run` does
            pipe.send("serving")
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    uvloop.run(run())


BOUNDS: dict[str, dict[str, Any]] = {
    "durable request/reply, 1,000 entities": {"must": 20_000, "aim": 35_000},
    "durable request/reply, one entity": {"must": 8_000, "aim": 20_000},
    "volatile request/reply, 1,000 entities": {"must": 80_000, "aim": 120_000},
}


def main() -> None:
    options = arguments(__doc__)
    report = Report("messages of a caller in another process, SQLite FULL, 64 in flight, all metrics on")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=options.store_dir) as folder:
        store = f"sqlite:///{folder}/bench.db"
        here, there = context.Pipe()
        runner = context.Process(target=serve, args=(store, there), daemon=True)
        runner.start()
        try:
            here.recv()
            found, alone = uvloop.run(talk(store, options.runs))
        finally:
            here.send("stop")
            runner.join(30)
            runner.kill()
    for name, figures in found.items():
        report.add(name, "/s", [figure.per_s for figure in figures], **BOUNDS.get(name, {}))
        report.add("  CPU of the client per call", "us", [figure.client_us for figure in figures])
        report.add("  CPU of the runner per call", "us", [figure.runner_us for figure in figures])
    for name, values in alone.items():
        report.add(name, "us", values)
    report.show(as_json=options.json)


if __name__ == "__main__":
    main()
