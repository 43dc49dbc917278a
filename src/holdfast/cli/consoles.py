"""The rich console of a command: plain text, never shortened where nobody's screen says how wide it may be."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .plain import shown

UNWATCHED_WIDTH = 200


class _Plain(Console):
    """What stores hold is shown, not obeyed: every string passes here, in a table's cell too."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(shown(text), **options)


def console() -> Console:
    """To standard output."""
    made = _Plain(highlight=False, soft_wrap=True, markup=False)
    if not made.is_terminal:
        made.width = UNWATCHED_WIDTH
    return made


def table(*columns: str, right: Collection[str] = ()) -> Table:
    """Without lines; `right` are the columns of numbers."""
    made = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left")
    return made
