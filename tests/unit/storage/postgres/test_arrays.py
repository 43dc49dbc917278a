"""Columns that are encoded here mean to the server what the driver's own encoding means."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from holdfast.storage.postgres.arrays import encode_columns

from .conftest import Database

pytestmark = pytest.mark.postgres

COLUMNS: list[tuple[str, list[Any]]] = [
    ("smallint", [1, -2, 32767]),
    ("integer", [0, -(2**31), None]),
    ("bigint", [2**63 - 1, -(2**63), 7]),
    ("bigint", [None, None]),
    ("text", ["", "x", 'h\u00e9, {"}', None, "NULL", "\U0001f600"]),
    ("bytea", [b"", b"\x00\xff", None, b"x" * 5_000]),
    ("text", []),
    ("integer", []),
]


@pytest.mark.parametrize(("kind", "column"), COLUMNS)
async def test_a_column_arrives_as_it_was(database: Database, kind: str, column: list[Any]) -> None:
    ours = await database.connect()
    encode_columns(ours)
    query = f"SELECT * FROM unnest($1::{kind}[])"
    assert [row[0] for row in await ours.fetch(query, column)] == column
    assert [row[0] for row in await ours.fetch(query, tuple(column))] == column
    theirs = await database.connect()
    same = f"SELECT array_send($1::{kind}[])"
    assert await ours.fetchval(same, column) == await theirs.fetchval(same, column)


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("integer", [2**31]),
        ("bigint", ["7"]),
        ("text", ["\ud800"]),
        ("text", [7]),
        ("bytea", [7]),
        ("bytea", ["x", None]),
        ("bigint", [1, None, 2**63]),
    ],
)
async def test_what_does_not_fit_is_an_error_of_its_value(database: Database, kind: str, column: list[Any]) -> None:
    """Before anything was sent, and the driver's own."""
    ours = await database.connect()
    encode_columns(ours)
    with pytest.raises(asyncpg.DataError):
        await ours.fetch(f"SELECT * FROM unnest($1::{kind}[])", column)
    assert await ours.fetchval("SELECT 1") == 1
