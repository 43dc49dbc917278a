"""How long is an entity away when its runner dies, freezes or leaves? Three runners on PostgreSQL, under steady calls.

    python benchmarks/recovery.py [--only NAME ...] [--rounds N] [--entities N] [--url postgresql://...] [--json]

Each caller sends durable calls to one entity, one after the other, and notes the longest time between two answers
around the fault. `kill`: kill -9. `freeze`: SIGSTOP for three lease times. `transaction`: SIGSTOP while a handler of
that runner holds an open transaction. `drain`: SIGTERM. `blocked`: a handler blocks one runner's event loop for 10 s,
in which no shard may move. After each round the entities' counts are compared with the answers: nothing may be lost or
doubled. The lease's time to live is the default, 6 s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop
from database import database
from report import Report

from holdfast import App, Entity, message
from holdfast.settings import ClusterSettings

RUNNERS = 3
TTL_S = ClusterSettings().lease_ttl
BLOCKED_S = 10.0
CALM_S = 4.0
PATIENCE_S = 120.0

app = App("recovery_benchmark")


@dataclass
class Total:
    value: int = 0


@app.entity
class Account(Entity[Total]):
    @message(durable=True)
    async def deposit(self) -> int:
        self.state.value += 1
        return self.state.value

    @message(readonly=True)
    async def value(self) -> int:
        return self.state.value


@app.entity
class Host(Entity[None]):
    """Tells of, and troubles, the process it lives in."""

    @message
    async def pid(self) -> int:
        return os.getpid()

    @message
    async def block(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the fault

    @message
    async def hold(self, seconds: float) -> None:
        async with self.transaction() as tx:
            await tx.execute("CREATE TEMPORARY TABLE IF NOT EXISTS held (n integer)")
            await asyncio.sleep(seconds)


class Process:
    """A runner."""

    def __init__(self, store: str) -> None:
        self._store = store
        self.start()

    def start(self) -> None:
        command = [sys.executable, __file__, "--serve", self._store]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None and self.popen.stdout.readline() == "serving\n"

    def end(self, number: int) -> None:
        self.popen.send_signal(number)
        self.popen.wait(PATIENCE_S)
        assert self.popen.stdout is not None
        self.popen.stdout.close()


@contextlib.contextmanager
def processes(store: str) -> Iterator[list[Process]]:
    found = [Process(store) for _ in range(RUNNERS)]
    try:
        yield found
    finally:
        for process in found:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.end(signal.SIGKILL)


async def shared_out() -> None:
    """Returns once the plan is carried out: all runners own as many shards, and nothing has moved for a while."""
    before: list[object] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            shards = list(await app.cluster.shards())
            owned = Counter(shard.runner_id for shard in shards)
            even = len(owned) == RUNNERS and 0 not in owned and max(owned.values()) - min(owned.values()) <= 1
            if even and shards == before:
                return
            before = shards
            await asyncio.sleep(CALM_S)


class Callers:
    """One for each entity; the longest pause between two answers of each since `begin`."""

    def __init__(self, entities: int, round_name: str) -> None:
        self._accounts = [app.ref(Account, f"{round_name}-{number}") for number in range(entities)]
        self._answers = [0] * entities
        self.gaps_s = [0.0] * entities
        self._stopping = False

    async def run(self) -> None:
        await asyncio.gather(*(self._call(number) for number in range(len(self._accounts))))

    def begin(self) -> None:
        self.gaps_s = [0.0] * len(self.gaps_s)

    async def _call(self, number: int) -> None:
        account, last = self._accounts[number], time.perf_counter()
        while not self._stopping:
            answer = await account.deposit.opts(timeout=PATIENCE_S)()
            self._answers[number] += 1
            assert answer == self._answers[number], f"entity {number}: {answer} after {self._answers[number]} answers"
            now = time.perf_counter()
            self.gaps_s[number] = max(self.gaps_s[number], now - last)
            last = now

    def stop(self) -> None:
        self._stopping = True

    async def check(self) -> int:
        """How many answers there were. Raises AssertionError where one of them is lost or was made twice."""
        values = await asyncio.gather(*(account.value.opts(timeout=PATIENCE_S)() for account in self._accounts))
        assert values == self._answers, "what was answered and what is stored differ"
        return sum(self._answers)


async def host_of(process: Process) -> Host:
    """An entity that lives in this process."""
    for number in range(1000):
        host = app.ref(Host, f"h{number}")
        if await host.pid.opts(timeout=PATIENCE_S)() == process.popen.pid:
            return host
    raise AssertionError("no entity lives there")


async def fault(name: str, process: Process) -> None:
    """Does it, and returns when its effect is over."""
    match name:
        case "kill":
            await asyncio.to_thread(process.end, signal.SIGKILL)
            await asyncio.sleep(TTL_S + 3)
            await asyncio.to_thread(process.start)
        case "drain":
            await asyncio.to_thread(process.end, signal.SIGTERM)
            await asyncio.to_thread(process.start)
        case "freeze" | "transaction":
            holding = None
            if name == "transaction":
                host = await host_of(process)
                holding = asyncio.ensure_future(host.hold.opts(timeout=PATIENCE_S)(5.0))
                await asyncio.sleep(0.5)  # it holds by then
            process.popen.send_signal(signal.SIGSTOP)
            await asyncio.sleep(3 * TTL_S)
            process.popen.send_signal(signal.SIGCONT)
            if holding is not None:
                await asyncio.gather(holding, return_exceptions=True)
        case "blocked":
            host = await host_of(process)
            before = {shard.number: shard.runner_id for shard in await app.cluster.shards()}
            await host.block.opts(timeout=PATIENCE_S)(BLOCKED_S)
            after = {shard.number: shard.runner_id for shard in await app.cluster.shards()}
            assert before == after, "shards moved while a loop was blocked for a moment"
        case _:
            raise AssertionError(name)


BOUNDS = {"kill": TTL_S + 1, "freeze": TTL_S + 1, "transaction": TTL_S + 1, "drain": 0.5, "blocked": BLOCKED_S + 1}


async def measure(store: str, names: list[str], rounds: int, entities: int, report: Report) -> None:
    with processes(store) as found:
        async with app.client(store=store):
            for name in names:
                gaps: list[float] = []
                answers = 0
                for number in range(rounds):
                    await shared_out()
                    callers = Callers(entities, f"{name}-{number}")
                    running = asyncio.ensure_future(callers.run())
                    await asyncio.sleep(1.0)
                    callers.begin()
                    await fault(name, found[number % RUNNERS])
                    callers.stop()
                    await running
                    answers += await callers.check()
                    gaps += (
                        sorted(callers.gaps_s)[-max(1, entities // RUNNERS) :] if name != "drain" else callers.gaps_s
                    )
                    print(f"{name} {number + 1}/{rounds}: longest {max(callers.gaps_s):.3f} s", file=sys.stderr)
                gaps.sort()
                p99 = gaps[min(len(gaps) - 1, int(len(gaps) * 0.99))]
                report.add(f"{name}: longest gap of an entity, p50", "s", [gaps[len(gaps) // 2]])
                note = f"{rounds} times, {answers:,} answers: 0 lost, 0 doubled"
                report.add(
                    f"{name}: longest gap of an entity, p99", "s", [p99], must=BOUNDS[name], aim=BOUNDS[name], note=note
                )


async def serve(store: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with app.runner(store=store):
        print("serving", flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BOUNDS), default=list(BOUNDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entities", type=int, default=48)
    parser.add_argument("--url", default=None, help="a PostgreSQL with an empty database; default: one from a wheel")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="STORE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
        return
    report = Report("how long an entity is away; three runners on PostgreSQL, fsync on")
    with database(options.url) as url:
        uvloop.run(measure(url, options.only, options.rounds, options.entities, report))
    report.show(as_json=options.json)


if __name__ == "__main__":
    main()
