"""The loader of named statements."""

from __future__ import annotations

import pytest

from holdfast.storage.sqlite.store import STATEMENTS_PACKAGE
from holdfast.storage.statements import load_statements, parse_statements


def test_statements_are_found_by_name_without_their_semicolon() -> None:
    parsed = parse_statements("-- one: counts.\nSELECT 1;\n\n-- two: counts on.\nSELECT\n    2\nFROM t;\n")
    assert parsed == {"one": "SELECT 1", "two": "SELECT\n    2\nFROM t"}


@pytest.mark.parametrize(
    "text",
    [
        "-- one: counts.\nSELECT 1;\n-- one: again.\nSELECT 2;",
        "-- one: says nothing.\n-- two: counts.\nSELECT 1;",
        "SELECT 1;\n-- one: counts.\nSELECT 1;",
    ],
)
def test_what_is_not_one_named_statement_after_another_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"one|SELECT"):
        parse_statements(text)


def test_the_shipped_statements_load() -> None:
    statements = load_statements(STATEMENTS_PACKAGE)
    assert "message_insert" in statements
    assert not [name for name, sql in statements.items() if sql.endswith(";")]
