"""The page of guarantees names tests; they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
CELL = re.compile(r"\]\((?P<file>\.\./tests/[^)]+)\)(?P<named>(?: `test_\w+`)?)")


@pytest.mark.parametrize("file,named", CELL.findall(PAGE.read_text()))
def test_what_is_said_to_show_a_guarantee_exists(file: str, named: str) -> None:
    """A test that was renamed or lost would leave a promise without its proof."""
    path = (PAGE.parent / file).resolve()
    text = path.read_text()
    assert f"def {named.strip(' `')}(" in text if named else "def test_" in text
