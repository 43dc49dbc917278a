"""How much memory does an idle entity take?

50,000 entities are brought to life and left alone; what the process's allocations grew by is divided by their number.
The instance, its state, its slot and its place in the table are all in it; references that the caller holds are not.
"""

from __future__ import annotations

import gc
import tempfile
import tracemalloc

import uvloop
from report import Report, arguments
from saved_state import Account
from volatile import Counter

from holdfast import App

ENTITIES = 10_000

app = App("idle")
app.entity(Counter)
app.entity(Account)


async def main() -> None:
    options = arguments(__doc__, runs=1)
    report = Report("memory of an idle entity")
    with tempfile.TemporaryDirectory(dir=options.store_dir) as folder:
        async with app.runner(store=f"sqlite:///{folder}/bench.db"):
            stateless, stateful = [], []
            for run in range(options.runs):
                stateless.append(await bytes_each(lambda number, run=run: app.ref(Counter, f"c{run}-{number}").add(1)))
                stateful.append(await bytes_each(lambda number, run=run: app.ref(Account, f"a{run}-{number}").add(1)))
    report.add("Entity[None] with one attribute", "bytes", stateless, must=1024, aim=1024)
    report.add("Entity[Total], a dataclass of one field", "bytes", stateful, must=1024, aim=1024)
    report.show(as_json=options.json)


async def bytes_each(call) -> float:  # type: ignore[no-untyped-def]
    await call(ENTITIES)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(ENTITIES):
        await call(number)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / ENTITIES


if __name__ == "__main__":
    uvloop.run(main())
