"""The pages of guarantees, of rules and of security name tests; they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CELL = re.compile(r"\]\((?P<file>(?:\.\./)?tests/[^)]+)\)(?P<named>(?: `test_\w+`)?)")
CELLS = [
    (page, *cell)
    for page in (ROOT / "docs/guarantees.md", ROOT / "docs/rules.md", ROOT / "SECURITY.md")
    for cell in CELL.findall(page.read_text())
]


@pytest.mark.parametrize("page,file,named", CELLS)
def test_what_is_said_to_show_a_guarantee_exists(page: Path, file: str, named: str) -> None:
    """A test that was renamed or lost would leave a promise without its proof."""
    path = (page.parent / file).resolve()
    text = path.read_text()
    assert f"def {named.strip(' `')}(" in text if named else "def test_" in text
