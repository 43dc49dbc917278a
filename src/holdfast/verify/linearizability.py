"""Whether what clients saw of a register can have happened one after the other, each operation inside its own time.

A search over orders, with the states it has been in remembered, and bounded: a history that takes more steps than that
is undecided, and said to be. An operation whose outcome is not known may take effect at any time after its call, or
never. Pure.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import NamedTuple

STEPS_MAX = 200_000


class Verdict(enum.Enum):
    LINEARIZABLE = "linearizable"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


class Operation(NamedTuple):
    """`read` returned `result`; `write` wrote `wrote`; `compare` was to put `wrote` in `expected`'s place.

    What `compare` said is its `result`.
    """

    verb: str
    called: float
    returned: float
    """`math.inf` where the outcome is not known."""
    expected: int = 0
    wrote: int = 0
    result: int | bool | None = None

    @property
    def known(self) -> bool:
        return self.returned < math.inf

    def applied(self, value: int) -> int | None:
        """The register's value afterwards; None where it can't have been this operation's turn."""
        match self.verb:
            case "read":
                return value if not self.known or self.result == value else None
            case "write":
                return self.wrote
            case _:
                swaps = value == self.expected
                if self.known and swaps != self.result:
                    return None
                return self.wrote if swaps else value


def verdict(operations: Sequence[Operation], *, initial: int = 0, steps_max: int = STEPS_MAX) -> Verdict:
    """Depth first; a state is which operations have had their turn, as bits, and the value."""
    listed = sorted((one for one in operations if one.known or one.verb != "read"), key=lambda one: one.called)
    must = sum(1 << index for index, one in enumerate(listed) if one.known)
    seen: set[tuple[int, int]] = set()
    stack = [(0, initial)]
    steps = 0
    while stack:
        taken, value = stack.pop()
        if taken & must == must:
            return Verdict.LINEARIZABLE
        if (taken, value) in seen:
            continue
        seen.add((taken, value))
        steps += 1
        if steps > steps_max:
            return Verdict.UNDECIDED
        stack += _next(listed, taken, value)
    return Verdict.VIOLATED


def _next(listed: Sequence[Operation], taken: int, value: int) -> list[tuple[int, int]]:
    """Who may have the next turn: all called before the first return of those that still must have theirs."""
    first_return = min((one.returned for index, one in enumerate(listed) if not taken >> index & 1), default=math.inf)
    found: list[tuple[int, int]] = []
    for index, one in enumerate(listed):
        if one.called > first_return:
            break
        if not taken >> index & 1:
            after = one.applied(value)
            if after is not None:
                found.append((taken | 1 << index, after))
    return found
