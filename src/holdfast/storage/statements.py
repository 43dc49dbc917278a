"""SQL lives in `.sql` files: named statements, each under one comment line that says its name and its purpose.

    -- message_consume: takes a stored message away.
    DELETE FROM holdfast_message WHERE id = ?;

Every dialect has the same names, so that a store's Python reads the same beside each of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

_HEADING = re.compile(r"^-- (?P<name>[a-z][a-z0-9_]*): \S.*\.$")


def load_statements(package: str) -> Mapping[str, str]:
    """All statements of the `.sql` files in `package`, by name. Raises ValueError for a name used twice."""
    statements: dict[str, str] = {}
    for file in sorted(_sql_files(files(package)), key=lambda file: file.name):
        for name, sql in parse_statements(file.read_text(encoding="utf-8")).items():
            if name in statements:
                raise ValueError(f"{package}/{file.name}: the statement {name!r} stands in another file too")
            statements[name] = sql
    return statements


def parse_statements(text: str) -> dict[str, str]:
    """The statements of one file by name, without their last semicolon.

    Raises ValueError for a name used twice, a statement without words, and words outside of a statement.
    """
    statements: dict[str, str] = {}
    lines: list[str] | None = None
    name = ""
    for line in [*text.splitlines(), "-- end: closes the last one."]:
        heading = _HEADING.match(line)
        if heading is None:
            if lines is None and line.strip():
                raise ValueError(f"{line!r} stands before the first named statement")
            if lines is not None:
                lines.append(line)
            continue
        if lines is not None:
            statements[name] = _finished(name, lines, statements)
        name, lines = heading["name"], []
    return statements


def _finished(name: str, lines: list[str], statements: Mapping[str, str]) -> str:
    sql = "\n".join(lines).strip().removesuffix(";")
    if not sql or name in statements:
        raise ValueError(f"the statement {name!r} is {'there twice' if sql else 'empty'}")
    return sql


def _sql_files(folder: Traversable) -> list[Traversable]:
    return [file for file in folder.iterdir() if file.name.endswith(".sql")]
