"""Whether what clients saw of a register can have happened one after the other, each operation inside its own time.

A walk along the returns, in the order they came in. At each one the returning operation must have had its turn, perhaps
after some of those that were under way as well; all that this leaves possible is carried on to the next return. An
operation whose outcome is not known may take effect at any time after its call, or never, so of two possibilities that
differ in nothing else the one that has used fewer of those is enough. What is left of a history is small then, however
long it is; where it is not, the walk is broken off, and the history is undecided and said to be. Pure.
"""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

STEPS_MAX = 50_000


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


class _Possible:
    """Pairs of a value and of the operations that have had their turn, as bits; only those that are worth keeping."""

    def __init__(self, unknown: int) -> None:
        self._unknown = unknown
        self._kept: dict[tuple[int, int], list[int]] = defaultdict(list)

    def add(self, value: int, taken: int) -> bool:
        """False where one that is there is as good."""
        alike = self._kept[value, taken & ~self._unknown]
        if any(one & ~taken == 0 for one in alike):
            return False
        alike[:] = [*(one for one in alike if taken & ~one), taken]
        return True

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((value, taken) for (value, _), alike in self._kept.items() for taken in alike)


def verdict(operations: Sequence[Operation], *, initial: int = 0, steps_max: int = STEPS_MAX) -> Verdict:
    listed = sorted((one for one in operations if one.known or one.verb != "read"), key=lambda one: one.called)
    unknown = sum(1 << index for index, one in enumerate(listed) if not one.known)
    earlier = _earlier_alike(listed)
    calls = [(one.called, False, index) for index, one in enumerate(listed)]
    returns = [(one.returned, True, index) for index, one in enumerate(listed) if one.known]
    possible = _Possible(unknown)
    possible.add(initial, 0)
    under_way: list[int] = []
    steps = 0
    for _, returning, index in sorted(calls + returns):
        if not returning:
            under_way.append(index)
            continue
        ahead, seen, possible = list(possible), possible, _Possible(unknown)
        while ahead:
            value, taken = ahead.pop()
            if taken >> index & 1:
                possible.add(value, taken ^ 1 << index)
                continue
            steps += 1
            if steps > steps_max:
                return Verdict.UNDECIDED
            for turn in under_way:
                if not taken >> turn & 1 and taken & earlier[turn] == earlier[turn]:
                    after = listed[turn].applied(value)
                    if after is not None and seen.add(after, taken | 1 << turn):
                        ahead.append((after, taken | 1 << turn))
        if not any(True for _ in possible):
            return Verdict.VIOLATED
        under_way.remove(index)
    return Verdict.LINEARIZABLE


def _earlier_alike(listed: Sequence[Operation]) -> list[int]:
    """For each operation with an unknown outcome the last one before it that is the same, as a bit: it goes first."""
    last: dict[tuple[str, int, int], int] = {}
    earlier: list[int] = []
    for index, one in enumerate(listed):
        what = one.verb, one.expected, one.wrote
        earlier.append(0 if one.known else last.get(what, 0))
        if not one.known:
            last[what] = 1 << index
    return earlier
