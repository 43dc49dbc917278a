"""A rolling upgrade: runners of two versions side by side on one PostgreSQL, then only those of the new one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.postgres import emptied_schema

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PATIENCE_S = 120.0

OLD = """
from dataclasses import dataclass, field
from holdfast import App, Entity, message

app = App("shop")

@dataclass
class CartState:
    items: list[str] = field(default_factory=list)

@app.entity
class Cart(Entity[CartState]):
    @message(durable=True)
    async def add(self, item: str) -> int:
        self.state.items.append(item)
        return len(self.state.items)

    @message(readonly=True)
    async def items(self) -> list[str]:
        return self.state.items
"""
NEW = (
    OLD
    + """
    @message(durable=True)
    async def clear(self) -> int:
        cleared, self.state.items = len(self.state.items), []
        return cleared

@app.job
async def report(name: str) -> str:
    return f"report of {name}"
"""
)
UPGRADE = """
import asyncio, json, sys
from new import Cart, app, report

async def main() -> None:
    async with app.client():
        carts = [app.ref(Cart, str(number)) for number in range(40)]
        async with asyncio.timeout(120):
            while len({shard.runner_id for shard in await app.cluster.shards()} - {0}) < 2:
                await asyncio.sleep(0.1)
        added = await asyncio.gather(*(cart.add("fig") for cart in carts))
        receipts = await asyncio.gather(*(cart.clear.send() for cart in carts))
        jobs = await asyncio.gather(*(report.submit(str(number)) for number in range(40)))
        print(json.dumps({"added": added}), flush=True)
        sys.stdin.readline()  # the old runner leaves meanwhile
        cleared = [await app.cluster.result(receipt, timeout=120) for receipt in receipts]
        reports = [await job.result(timeout=120) for job in jobs]
        items = await asyncio.gather(*(cart.items() for cart in carts))
        print(json.dumps({"cleared": cleared, "reports": len(set(reports)), "items": items}))

asyncio.run(main())
"""


@pytest.fixture
async def url(postgres_servers: Callable[[str], str]) -> AsyncIterator[str]:
    async with emptied_schema(postgres_servers("postgres")) as url:
        yield url


@contextmanager
def process(url: str, folder: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "HOLDFAST_STORE": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def runs(runner: subprocess.Popen[str]) -> None:
    assert runner.stdout is not None
    assert "runs" in runner.stdout.readline()


def test_old_and_new_runners_serve_side_by_side_and_nothing_new_is_lost_on_the_old(url: str, tmp_path: Path) -> None:
    """A message and a job that the old version does not know wait for the new one, at no cost of a try."""
    (tmp_path / "old.py").write_text(OLD)
    (tmp_path / "new.py").write_text(NEW)
    with (
        process(url, tmp_path, "-m", "holdfast", "run", "old:app") as old,
        process(url, tmp_path, "-m", "holdfast", "run", "new:app") as new,
        process(url, tmp_path, "-c", UPGRADE) as user,
    ):
        runs(old)
        runs(new)
        assert user.stdout is not None and user.stdin is not None
        assert json.loads(user.stdout.readline()) == {"added": [1] * 40}
        old.send_signal(signal.SIGTERM)
        assert old.wait(PATIENCE_S) == 0
        user.stdin.write("go on\n")
        user.stdin.flush()
        assert json.loads(user.stdout.readline()) == {"cleared": [1] * 40, "reports": 40, "items": [[]] * 40}
