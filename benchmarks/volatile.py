"""How fast is a local volatile request/reply?

64 callers in flight over 1,000 entities without stored state, whose handler changes an attribute; arguments and results
cross the codec, every metric is on. Beside it, in the same run: a bare asyncio mailbox (a task and a queue for each of
100 entities), and one caller alone for the latency. Figures are per second of CPU time of this process, so that
neighbours on a shared machine count less. What the metrics cost is for `metrics_on_messages.py` to say.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop
from reference import bare_mailbox
from report import Report, arguments

from holdfast import App, Entity, message

CALLS = 100_000
IN_FLIGHT = 64
ENTITIES = 1_000

app = App("volatile")


@app.entity
class Counter(Entity[None]):
    def __init__(self) -> None:
        self.value = 0

    @message
    async def add(self, by: int) -> int:
        self.value += by
        return self.value


async def main() -> None:
    options = arguments(__doc__)
    report = Report("local volatile request/reply, 64 in flight, 1,000 entities, all metrics on")
    with tempfile.TemporaryDirectory(dir=options.store_dir) as folder:
        async with app.runner(store=f"sqlite:///{folder}/bench.db"):
            calls = [app.ref(Counter, f"c{number}").add for number in range(ENTITIES)]
            bare, full, latency = [], [], []
            for run in range(options.runs + 1):
                measured = await bare_mailbox(CALLS), await throughput(calls), await p50_alone_us(calls)
                if run:
                    for figures, value in zip((bare, full, latency), measured, strict=True):
                        figures.append(value)
    report.add("bare asyncio mailbox", "/s", bare, note="queue + task per entity, 100 entities")
    report.add("entities, all metrics on", "/s", full, must=150_000, aim=200_000)
    ratios = [ours / theirs for ours, theirs in zip(full, bare, strict=True)]
    report.add("ratio to the bare mailbox of the same run", "x", ratios)
    report.add("p50 with one caller", "us", latency, must=20, aim=20)
    report.show(as_json=options.json)


async def throughput(calls: list[Callable[[int], Awaitable[int]]]) -> float:
    turns = iter(range(CALLS))

    async def caller() -> None:
        for turn in turns:
            await calls[turn * 7919 % ENTITIES](1)

    return await per_cpu_second(caller)


async def per_cpu_second(caller: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return CALLS / (time.process_time() - began)


async def p50_alone_us(calls: list[Callable[[int], Awaitable[int]]]) -> float:
    taken = []
    for turn in range(5_000):
        began = time.perf_counter()
        await calls[turn % ENTITIES](1)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


if __name__ == "__main__":
    uvloop.run(main())
