"""The walk through a cluster on one laptop: its page's files are written, its commands run as they stand.

All but the installation, which has been done, and the ports, which on a laptop are free and here may be somebody's.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.folders import open_to_servers

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
FILE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"--http 127\.0\.0\.1:(\d+)")
PATIENCE_S = 300.0


@pytest.mark.slow
@pytest.mark.postgres
def test_the_walk_through_a_cluster_goes_as_its_page_says(tmp_path: Path) -> None:
    open_to_servers(tmp_path)
    for name, text in FILE.findall(PAGE.read_text()):
        (tmp_path / name).write_text(text)
    lines = [line for block in COMMANDS.findall(PAGE.read_text()) for line in block.splitlines()]
    script = "\n".join(["set -euo pipefail", *(line for line in lines if not line.startswith("pip install"))])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    walk = subprocess.Popen(
        ["bash", "-c", on_free_ports(script)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that all of it can be ended together
    )
    try:
        said, _ = walk.communicate(timeout=PATIENCE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(walk.pid, signal.SIGKILL)
        walk.wait()
        stop_database(tmp_path / "database")
    assert walk.returncode == 0, said


def on_free_ports(script: str) -> str:
    typed, free = PORT.findall(script), free_ports()
    assert typed, "the page gives no ports any more"
    for port in typed:
        script = re.sub(rf"\b{port}\b", str(next(free)), script)
    return script


def free_ports() -> Iterator[int]:
    """Below those that the kernel gives to whoever asks for any: they stay free until they are used."""
    for port in range(24_000, 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            yield port


def stop_database(folder: Path) -> None:
    """Where a walk that failed has left it running: it is in a session of its own."""
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((folder / "postmaster.pid").read_text().split("\n", 1)[0]), signal.SIGINT)
