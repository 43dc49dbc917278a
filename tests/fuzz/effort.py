"""How long these suites look: a slice that fits every run, and as much more as the environment asks for.

`HOLDFAST_FUZZ=50` does fifty times as much; `HOLDFAST_SEED` repeats a run that failed, which says its seed.
"""

from __future__ import annotations

import os
import random

TIMES = int(os.environ.get("HOLDFAST_FUZZ", "1"))
SEED = int(os.environ.get("HOLDFAST_SEED", str(random.randrange(2**32))))


def seeded(what: str) -> random.Random:
    """Of its own for each test, so that tests run alone or in another order do the same."""
    print(f"HOLDFAST_SEED={SEED}")  # shown where the test fails
    return random.Random(f"{SEED} {what}")
