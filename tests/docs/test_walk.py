"""The walk through a cluster on one laptop: its page's files are written, its commands run as they stand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
FILE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE_S = 300.0


@pytest.mark.slow
@pytest.mark.postgres
def test_the_walk_through_a_cluster_goes_as_its_page_says(tmp_path: Path) -> None:
    """All but the installation, which has been done."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)  # run by root, the server runs as another user
    for name, text in FILE.findall(PAGE.read_text()):
        (tmp_path / name).write_text(text)
    lines = [line for block in COMMANDS.findall(PAGE.read_text()) for line in block.splitlines()]
    script = "\n".join(["set -euo pipefail", *(line for line in lines if not line.startswith("pip install"))])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    walk = subprocess.Popen(
        ["bash", "-c", script],
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
        _end_all(walk.pid)
        walk.wait()
    assert walk.returncode == 0, said


def _end_all(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
