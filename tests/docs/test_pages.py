"""The README, the pages and the examples do what they show: each is run as a reader would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^# \w+\.py$", re.MULTILINE)
"""The first line of a block that is a file by itself: such a page has a test of its own."""
LINK = re.compile(r"\[[^\]]+\]\((?!\w+:)([^)#\s]+)[^)]*\)")


def programs() -> dict[str, str]:
    """Every runnable text by the name of where it stands; the blocks of one page are one program."""
    blocks = {page: [block for block in BLOCK.findall(page.read_text()) if not FILE.match(block)] for page in PAGES}
    pages = {page: "\n".join(found) for page, found in blocks.items()}
    examples = {path: path.read_text() for path in sorted(ROOT.glob("examples/**/*.py"))}
    found = {path: text for path, text in (pages | examples).items() if text}
    return {str(path.relative_to(ROOT)): text for path, text in found.items()}


@pytest.mark.slow
def test_every_block_and_example_runs(tmp_path: Path) -> None:
    """What the pages show can be copied and run, in an empty folder, without an error."""
    failed: dict[str, str] = {}
    for name, text in programs().items():
        folder = tmp_path / name.replace("/", "_")
        folder.mkdir()
        (folder / "program.py").write_text(text)
        command = [sys.executable, "-W", "error", "program.py"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
        if done.returncode != 0:
            failed[name] = done.stdout + done.stderr
    assert not failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A reader who follows a link inside the project finds a file."""
    assert not [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]


def test_the_readme_gives_one_command_to_run_and_one_to_test() -> None:
    """CI runs these two lines as they stand in the README."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("pip install . && holdfast demo")]) == 1
    assert len([line for line in lines if line.startswith("pip install '.[test]' && pytest")]) == 1
