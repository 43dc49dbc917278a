"""How long to wait before trying again: arithmetic only, with the randomness passed in.

The ceiling of attempt n is `first_s * factor ** (n - 1)`, at most `ceiling_s`. Jitter takes a part of it, so that
callers who failed together do not come back together: `full` anywhere between 0 and the ceiling (spreads best, may
be 0), `equal` between half of it and all of it (keeps a minimum), `none` the ceiling itself (for tests and single
callers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal, assert_never

Jitter = Literal["full", "equal", "none"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff; durations in seconds. Raises ValueError for bounds that make no sense."""

    first_s: float = 0.1
    ceiling_s: float = 60.0
    factor: float = 2.0
    jitter: Jitter = "equal"

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.ceiling_s < math.inf:
            raise ValueError(f"backoff needs 0 < first_s <= ceiling_s, not {self.first_s} and {self.ceiling_s}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"backoff needs a factor of at least 1, not {self.factor}")

    def ceiling_of(self, attempt: int) -> float:
        """The longest wait after failed attempt number `attempt` (from 1)."""
        if attempt < 1:
            raise ValueError(f"attempts count from 1, not {attempt}")
        try:
            return min(self.ceiling_s, self.first_s * self.factor ** (attempt - 1))
        except OverflowError:
            return self.ceiling_s

    def delay_s(self, attempt: int, random: Random) -> float:
        """The wait after failed attempt number `attempt` (from 1)."""
        ceiling = self.ceiling_of(attempt)
        match self.jitter:
            case "full":
                return random.uniform(0.0, ceiling)
            case "equal":
                return random.uniform(ceiling / 2, ceiling)
            case "none":
                return ceiling
            case _:
                assert_never(self.jitter)
