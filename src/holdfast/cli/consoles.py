"""The rich console of a command: plain text, never shortened where nobody's screen says how wide it may be."""

from __future__ import annotations

from rich.console import Console

UNWATCHED_WIDTH = 200


def console() -> Console:
    """To standard output."""
    made = Console(highlight=False, soft_wrap=True, markup=False)
    if not made.is_terminal:
        made.width = UNWATCHED_WIDTH
    return made
