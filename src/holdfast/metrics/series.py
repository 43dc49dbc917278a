"""The series of one metric, handed out as children by label set.

The label schema is the catalogue's: an unknown label name is a ValueError, a missing one is absent. A metric has a
limit of series (see `cardinality`).

Threads. One thread owns the service, by default the one that made it; the runtime passes the ownership to the thread
of its event loop. A child asked for by the owning thread is written without a lock and must be used on that thread
only. A child asked for by any other thread is locked and may be used anywhere. Reading adds both. When the ownership
moves, the former owner's children are retired: still read, never handed out again.
"""

from collections.abc import Callable, Iterator, Mapping
from threading import RLock, get_ident
from typing import Generic, TypeVar

from .cardinality import FOLDED_MAX, Values, candidates, offender
from .catalogue import LABELS
from .children import CounterChild, GaugeChild, HistogramChild
from .label import Labels, clean
from .spec import MetricSpec, Outcome

C = TypeVar("C", bound="CounterChild | GaugeChild | HistogramChild")


class Ledger:
    """What the instruments of one service share: who owns it, the lock of the others, and the limit of series."""

    __slots__ = ("lock", "overflowed", "owner", "series_max", "unreadable")

    overflowed: Callable[[str], None]
    """Told the name of a metric whenever a label set was folded."""
    unreadable: Callable[[str], None]
    """Told the name of a metric whenever it could not be read."""

    def __init__(self, series_max: int) -> None:
        self.owner = get_ident()
        self.lock = RLock()  # a finaliser that counts may run while it is held
        self.series_max = series_max
        self.overflowed = self.unreadable = _nobody

    def own(self) -> None:
        """The calling thread is the owner from now on."""
        self.owner = get_ident()

    def owned_here(self) -> bool:
        """Is the calling thread the owner?"""
        return get_ident() == self.owner


def _nobody(_metric: str) -> None:
    """Nobody is told yet."""


class Series(Generic[C]):
    """The children of one metric by label values: the owner's, the other threads', and those of former owners."""

    __slots__ = ("own", "retired", "shared")

    def __init__(self) -> None:
        self.own: dict[Values, C] = {}
        self.shared: dict[Values, C] = {}
        self.retired: list[dict[Values, C]] = []

    def __contains__(self, values: Values) -> bool:
        return values in self.own or values in self.shared or any(values in part for part in self.retired)

    def retire(self) -> None:
        """Start anew for another owner."""
        if self.own:
            self.retired.append(self.own)
            self.own = {}

    def parts(self) -> list[dict[Values, C]]:
        """A copy of each part; copying is one step for the interpreter, so the owner may add meanwhile."""
        parts: list[dict[Values, C]] = [self.own, self.shared, *self.retired]
        return [part.copy() for part in parts if part]


class Instrument(Generic[C]):
    """One metric of the catalogue, live."""

    _one_for_all = False
    """Do all threads write the same child?"""

    def __init__(self, spec: MetricSpec, ledger: Ledger) -> None:
        self.spec = spec
        self._ledger = ledger
        self._series: dict[Outcome, Series[C]] = {Outcome.OK: Series()}
        self._count = 0
        self._offender: int | None = None
        self._names = frozenset(spec.labels)
        self._user_places = [place for place, name in enumerate(spec.labels) if not LABELS[name][0]]

    def __repr__(self) -> str:
        return f"<{self.spec.kind} {self.spec.name}>"

    def labels(self, **labels: object) -> C:
        """The child for these labels; raises ValueError for a label the metric does not have."""
        return self._child(self._values(labels))

    def at(self, labels: Labels | Mapping[str, object]) -> C:
        """The same for labels in one value, as `MetricsService.label` makes them."""
        return self._child(self._values(labels if isinstance(labels, Mapping) else dict(labels)))

    def retire_own(self) -> None:
        """Leave the children of the former owner behind."""
        for series in self._series.values():
            series.retire()

    def _values(self, labels: Mapping[str, object]) -> Values:
        if not labels.keys() <= self._names:
            unknown = ", ".join(sorted(str(name) for name in labels.keys() - self._names))
            known = ", ".join(self.spec.labels) or "none"
            raise ValueError(f"{self.spec.name} has no label {unknown}; its labels are: {known}")
        return tuple([clean(labels.get(name)) for name in self.spec.labels])

    def _child(self, values: Values, outcome: Outcome = Outcome.OK) -> C:
        owned = self._ledger.owned_here()
        series = self._series.get(outcome)
        if series is not None:
            child = (series.own if owned else series.shared).get(values)
            if child is not None:
                return child
        return self._admit(values, outcome)

    def _admit(self, values: Values, outcome: Outcome) -> C:
        with self._ledger.lock:
            owned = self._ledger.owned_here() and not self._one_for_all  # again: the owner may just have changed
            admitted = self._within_limit(values)
            if not self._known(admitted):
                self._count += 1
            series = self._series.setdefault(outcome, Series())
            child = (series.own if owned else series.shared).setdefault(admitted, self._new_child(owned))
        if admitted != values:
            self._ledger.overflowed(self.spec.name)  # outside the lock: it is a counter of this very service
        return child

    def _within_limit(self, values: Values) -> Values:
        limit = self._ledger.series_max
        if self._count < limit or not values or self._known(values):
            return values
        if self._offender is None and self._user_places:
            self._offender = offender(self._all_values(), self._user_places)
        mild, strong, total = candidates(values, self._offender, self._user_places)
        if self._known(mild) or self._count < limit + FOLDED_MAX:
            return mild
        return strong if self._known(strong) or self._count < limit + 2 * FOLDED_MAX else total

    def _known(self, values: Values) -> bool:
        return any(values in series for series in self._series.values())

    def _all_values(self) -> Iterator[Values]:
        for series in self._series.values():
            for part in series.parts():
                yield from part

    def _new_child(self, owned: bool) -> C:
        raise NotImplementedError
