"""The statements' placeholders as each driver writes them. Pure.

Our statements have `$1, $2, ...` (PostgreSQL) or `?` (SQLite), each once and in order, and no `%` or `:` of their own.
"""

from __future__ import annotations

import re

_PLACEHOLDER = re.compile(r"\$\d+|\?")


def as_percent(sql: str) -> str:
    """`%s`, as psycopg and Django have it."""
    return _PLACEHOLDER.sub("%s", sql)


def as_named(sql: str, values: tuple[object, ...]) -> tuple[str, dict[str, object]]:
    """`:p1, :p2, ...` with the values by these names, as SQLAlchemy has it."""
    names = [f"p{place}" for place in range(1, len(values) + 1)]
    upcoming = iter(names)
    return _PLACEHOLDER.sub(lambda _: f":{next(upcoming)}", sql), dict(zip(names, values, strict=True))
