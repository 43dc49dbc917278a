"""What happens to the series that are too many: the label that made them many is folded into `__other__`.

A metric has at most `series_max` series of its own. A label set beyond that loses the user label with the most
distinct values (the offender); if even these are too many, all user labels; and if somebody feeds free text into
labels that should be closed, all labels. Closed labels (operation, outcome, priority...) are kept as long as that
bounds anything, so that the totals by outcome stay true.
"""

from collections.abc import Collection, Iterable
from typing import Final

Values = tuple[str, ...]
"""Label values in the order of the metric's schema; an empty one is absent."""

OTHER: Final = "__other__"
FOLDED_MAX: Final = 64
"""Extra series that may come from folding the offender alone, and as many again from folding all user labels."""


def folded(values: Values, places: Collection[int]) -> Values:
    """The values with those at the places made `__other__`; an absent one stays absent."""
    return tuple(OTHER if place in places and value else value for place, value in enumerate(values))


def offender(known: Iterable[Values], places: Collection[int]) -> int:
    """The place, of those given, that has the most distinct values."""
    seen: dict[int, set[str]] = {place: set() for place in places}
    for values in known:
        for place in places:
            seen[place].add(values[place])
    return max(places, key=lambda place: len(seen[place]))


def candidates(values: Values, worst: int | None, user: Collection[int]) -> tuple[Values, Values, Values]:
    """The foldings of one label set, mildest first; the last one always exists at most once per metric."""
    mild = folded(values, (worst,)) if worst is not None else values
    return mild, folded(values, user), folded(values, range(len(values)))
