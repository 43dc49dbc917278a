"""Kill -9 in the middle of commits: what was acknowledged is there, and nothing is there by halves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from holdfast.storage.open import open_runner_store

from .processes import BATCH

ROUNDS = 20
ROOT = Path(__file__).parents[4]


def start(verb: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.storage.sqlite.processes", verb, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen[str]]:
    process = start("nursery")
    yield process
    process.communicate(timeout=120)


def commit_until_killed(nursery: subprocess.Popen[str], url: str, fifo: Path, lines: int) -> int:
    """Kills a child at some point after so many acknowledged batches; the number of the last one acknowledged."""
    assert nursery.stdin is not None and nursery.stdout is not None
    os.mkfifo(fifo)
    nursery.stdin.write(f"{url} {fifo}\n")
    nursery.stdin.flush()
    child = int(nursery.stdout.readline())
    with fifo.open() as said:
        for _ in range(lines):
            last = int(said.readline())
        os.kill(child, signal.SIGKILL)
        rest = said.read().split("\n")[:-1]  # a line cut off by the kill was not acknowledged
    return int(rest[-1]) if rest else last


@pytest.mark.parametrize("turn", range(ROUNDS))
async def test_a_killed_runner_loses_nothing_acknowledged(
    tmp_path: Path, nursery: subprocess.Popen[str], turn: int
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    lines = random.Random(turn).randrange(1, 60)
    acknowledged = commit_until_killed(nursery, url, tmp_path / "said", lines)
    store = await open_runner_store(url)  # the kernel gave the lock up with the process
    await store.close()
    connection = apsw.Connection(str(tmp_path / "store.db"))
    versions = {version for (version,) in connection.execute("SELECT version FROM holdfast_state")}
    assert len(versions) == 1, "every entity of a batch is at the same version"
    (written,) = versions
    assert written in (acknowledged, acknowledged + 1), "the batch that the kill met is there whole, or not at all"
    numbers = list(range(BATCH, (written + 1) * BATCH))
    for table in ("holdfast_message", "holdfast_done"):
        assert [n for (n,) in connection.execute(f"SELECT id FROM {table} ORDER BY id")] == numbers
    live = [n for (n,) in connection.execute("SELECT id FROM holdfast_job ORDER BY id")]
    ended = [n for (n,) in connection.execute("SELECT id FROM holdfast_job_archive ORDER BY id")]
    assert live == [n for n in numbers if n % 2 == 0]
    assert ended == [n for n in numbers if n % 2]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
