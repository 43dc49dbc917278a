"""`holdfast verify simulate` as a process: whatever ends it ends those it has started."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from holdfast.verify import proc

PATIENCE_S = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with the one that started them"),
]


def test_its_processes_end_with_it() -> None:
    """They would wait for their next seeds for ever."""
    command = [sys.executable, "-m", "holdfast", "verify", "simulate", "--seeds", "100000", "--processes", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(proc.children(process.pid)) >= 2)
        children = proc.children(process.pid)
        process.kill()
    wait_until(lambda: not any(proc.runs(child) for child in children))


def wait_until(seen: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < give_up_at, "it does not come true"
        time.sleep(0.01)
