"""The garbage collector of a process that is a runner and nothing else."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 10_000
"""Allocations between two looks at the youngest objects. What a message allocates lives until its commit, a few hundred
messages later: with Python's own 700 it is looked at, found alive and promoted, again and again."""
GENERATIONS = 20


def settle_for_running() -> None:
    """Passes over what was imported and declared for good, and looks at the rest less often.

    A program that embeds a runner decides this for itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, GENERATIONS, GENERATIONS)
