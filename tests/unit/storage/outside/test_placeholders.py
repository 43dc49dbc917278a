"""One statement, written as each driver wants it."""

from __future__ import annotations

import re

import pytest

from holdfast.storage.outside.placeholders import as_named, as_percent
from holdfast.storage.statements import load_statements

PACKAGES = ("holdfast.storage.postgres.statements", "holdfast.storage.sqlite.statements")
NAMES = ("outside_visit", "outside_groups", "outside_leave")


def test_both_dialects_placeholders_become_percent() -> None:
    assert as_percent("SELECT $1, $2") == as_percent("SELECT ?, ?") == "SELECT %s, %s"


def test_both_dialects_placeholders_become_names_with_their_values() -> None:
    expected = "SELECT :p1, :p2", {"p1": 7, "p2": "x"}
    assert as_named("SELECT $1, $2", (7, "x")) == as_named("SELECT ?, ?", (7, "x")) == expected


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", NAMES)
def test_the_statements_keep_to_what_every_driver_can_be_told(package: str, name: str) -> None:
    """A `%` or a `:` is a placeholder to some of them, and so is a number that stands twice or out of order."""
    sql = load_statements(package)[name]
    assert "%" not in sql and ":" not in sql
    numbers = [int(number) for number in re.findall(r"\$(\d+)", sql)]
    assert numbers == list(range(1, len(numbers) + 1))
