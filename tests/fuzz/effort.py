"""How long these suites look: a slice that fits every run, and as much more as the environment asks for.

`HOLDFAST_FUZZ=50` does fifty times as much, from another seed each time; `HOLDFAST_SEED` repeats a run that failed,
which says its seed. The slice is the same in every run, so that a verdict on a change is about the change.
"""

from __future__ import annotations

import os
import random

TIMES = int(os.environ.get("HOLDFAST_FUZZ", "1"))
SEED = int(os.environ.get("HOLDFAST_SEED", "0" if TIMES == 1 else str(random.randrange(2**32))))


def seeded(what: str) -> random.Random:
    """Of its own for each test, so that tests run alone or in another order do the same."""
    print(f"HOLDFAST_SEED={SEED}")  # shown where the test fails
    return random.Random(f"{SEED} {what}")
