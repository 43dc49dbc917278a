"""What `holdfast.metrics` promises to type checkers: these programs pass, those lines do not.

Every line of `wrong_metrics.py` marked `# B` must be reported by both checkers, and no other.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
MARKED = re.compile(r"# B\d+\b")

pytestmark = pytest.mark.slow


def _mypy(folder: Path) -> set[tuple[str, int]]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--output=json", "."]
    reports = [json.loads(line) for line in _output(command, folder).splitlines()]
    return {(report["file"], report["line"]) for report in reports if report["severity"] == "error"}


def _pyright(folder: Path) -> set[tuple[str, int]]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "."]
    reports = json.loads(_output(command, folder))["generalDiagnostics"]
    errors = [report for report in reports if report["severity"] == "error"]
    return {(Path(error["file"]).name, error["range"]["start"]["line"] + 1) for error in errors}


def _output(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr  # anything else: the checker itself failed
    return done.stdout


@pytest.mark.parametrize("checker", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_checkers_report_the_marked_lines_and_nothing_else(checker, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Right uses pass without a word; each wrong use is caught before it runs."""
    folder = shutil.copytree(PROGRAMS, tmp_path / "programs")
    lines = (PROGRAMS / "wrong_metrics.py").read_text().splitlines()
    marked = {("wrong_metrics.py", number) for number, line in enumerate(lines, start=1) if MARKED.search(line)}
    assert marked
    assert checker(folder) == marked
