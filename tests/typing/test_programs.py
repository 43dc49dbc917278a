"""What the public API promises to type checkers, held against the installed package.

Programs named `right_*` must pass mypy --strict and pyright without a word. In those named `wrong_*`
both checkers must report every line marked `# B`, and no other. Lines marked `# L` are wrong in ways types cannot
see; they raise at run time and are tested where they raise.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
MARKED = re.compile(r"# B\d+\b")

pytestmark = pytest.mark.slow


def mypy(programs: Path) -> dict[str, set[int]]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--output=json", "."]
    found: dict[str, set[int]] = {}
    for line in output(command, programs).splitlines():
        report = json.loads(line)
        if report["severity"] == "error":
            found.setdefault(report["file"], set()).add(report["line"])
    return found


def pyright(programs: Path) -> dict[str, set[int]]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "."]
    answer = json.loads(output(command, programs))
    assert answer["summary"]["filesAnalyzed"] == len(list(programs.iterdir()))
    found: dict[str, set[int]] = {}
    for report in answer["generalDiagnostics"]:
        if report["severity"] == "error":
            line = report["range"]["start"]["line"] + 1
            found.setdefault(Path(report["file"]).name, set()).add(line)
    return found


def output(command: list[str], folder: Path) -> str:
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr  # anything else: the checker itself failed
    return done.stdout


@pytest.fixture(scope="module", params=[mypy, pyright], ids=lambda checker: checker.__name__)
def reported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    """One checker's errors: lines by program. It runs on a copy, away from this project's own settings."""
    checker: Callable[[Path], dict[str, set[int]]] = request.param
    return checker(shutil.copytree(PROGRAMS, tmp_path_factory.mktemp(checker.__name__) / "programs"))


@pytest.mark.parametrize("program", sorted(p.name for p in PROGRAMS.glob("right_*.py")))
def test_right_programs_are_accepted(reported: dict[str, set[int]], program: str) -> None:
    """A legal use never draws an error."""
    assert reported.get(program, set()) == set()


@pytest.mark.parametrize("program", sorted(p.name for p in PROGRAMS.glob("wrong_*.py")))
def test_every_wrong_line_is_rejected_and_no_other(reported: dict[str, set[int]], program: str) -> None:
    """A misspelt method, a wrong argument, a volatile message sent: each is caught before it runs."""
    lines = (PROGRAMS / program).read_text().splitlines()
    marked = {number for number, line in enumerate(lines, start=1) if MARKED.search(line)}
    assert marked
    assert reported.get(program, set()) == marked
