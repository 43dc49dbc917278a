"""The rich console of a command: plain text, never shortened where nobody's screen says how wide it may be."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console
from rich.table import Table

UNWATCHED_WIDTH = 200


def console() -> Console:
    """To standard output."""
    made = Console(highlight=False, soft_wrap=True, markup=False)
    if not made.is_terminal:
        made.width = UNWATCHED_WIDTH
    return made


def table(*columns: str, right: Collection[str] = ()) -> Table:
    """Without lines; `right` are the columns of numbers."""
    made = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left")
    return made
