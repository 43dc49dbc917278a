"""Counters, gauges and histograms: the series of one metric, handed out by label set.

An instrument hands out children (`labels`, `at`) that are kept by whoever counts often, and reads all its series for
a scrape. The label schema is the catalogue's: an unknown label name is a ValueError, a missing one is absent.

Threads. One thread owns the service, by default the one that made it; the runtime passes the ownership to the thread
of its event loop (`Ledger.own`). A child asked for by the owning thread is written without a lock and must be used
on that thread only. A child asked for by any other thread is locked and may be used anywhere. Reading adds both.
When the ownership moves, the former owner's children are retired: still read, never handed out again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import RLock, get_ident
from typing import Generic, TypeVar, assert_never

from .boundaries import Bounds
from .cardinality import FOLDED_MAX, Values, candidates, offender
from .catalogue import LABELS
from .children import CounterChild, GaugeChild, HistogramChild, LockedCounterChild, LockedHistogramChild
from .label import Labels, clean
from .spec import Aggregate, MetricSpec, Outcome

C = TypeVar("C", CounterChild, GaugeChild, HistogramChild)


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

    def __init__(self, spec: MetricSpec, ledger: Ledger) -> None:
        self.spec = spec
        self._ledger = ledger
        self._series: dict[Outcome, Series[C]] = {Outcome.OK: Series()}
        self._count = 0
        self._offender: int | None = None
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
        names = self.spec.labels
        values = tuple([clean(labels.get(name)) for name in names])
        if len(labels) > len(names) or not labels.keys() <= set(names):
            unknown = ", ".join(sorted(str(name) for name in labels.keys() - set(names)))
            raise ValueError(f"{self.spec.name} has no label {unknown}; its labels are: {', '.join(names) or 'none'}")
        return values

    def _child(self, values: Values, outcome: Outcome = Outcome.OK) -> C:
        owned = self._ledger.owned_here()
        series = self._series.get(outcome)
        if series is not None:
            child = (series.own if owned else series.shared).get(values)
            if child is not None:
                return child
        return self._admit(values, outcome, owned)

    def _admit(self, values: Values, outcome: Outcome, owned: bool) -> C:
        with self._ledger.lock:
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


class Counter(Instrument[CounterChild]):
    """Only grows. What the catalogue says it derives from a histogram is part of every reading."""

    source: "Histogram | None" = None

    def _new_child(self, owned: bool) -> CounterChild:
        return CounterChild() if owned else LockedCounterChild(self._ledger.lock)

    def read(self) -> dict[Values, float]:
        """All series now."""
        readings: dict[Values, float] = {}
        for part in self._series[Outcome.OK].parts():
            if readings:
                for values, child in part.items():
                    readings[values] = readings.get(values, 0) + child.value
            else:
                readings = {values: child.value for values, child in part.items()}
        for values, count in self._derived():
            readings[values] = readings.get(values, 0) + count
        return readings

    def _derived(self) -> Iterator[tuple[Values, int]]:
        rule, source = self.spec.derived, self.source
        if rule is None or source is None:
            return
        names = source.spec.labels
        for outcome in Outcome if rule.outcome is None else (rule.outcome,):
            for values, count in source.counts(outcome):
                pairs = dict(zip(names, values, strict=True))
                if rule.operation is None or pairs["operation"] == rule.operation:
                    pairs["outcome"] = outcome.value
                    yield tuple(pairs[name] for name in self.spec.labels), count


Reader = Callable[[], "Mapping[Labels, float] | float"]
"""What a gauge is fed by: the value, or values by label set, as they are now; raises if it cannot tell."""


class Gauge(Instrument[GaugeChild]):
    """Goes up and down: written by children, read from elsewhere at each scrape, or replaced as a whole.

    A value that could not be read is not shown at all, so that nobody takes a failure for a zero.
    """

    def __init__(self, spec: MetricSpec, ledger: Ledger) -> None:
        super().__init__(spec, ledger)
        self._readers: list[Reader] = []
        self._replaced: Mapping[Labels, float] = {}

    def _new_child(self, owned: bool) -> GaugeChild:
        return GaugeChild(self._ledger.lock)

    def _child(self, values: Values, outcome: Outcome = Outcome.OK) -> GaugeChild:
        # One child for all threads: two parts of a value that is set cannot be added.
        child = self._series[outcome].shared.get(values)
        return child if child is not None else self._admit(values, outcome, owned=False)

    def read_with(self, reader: Reader) -> Callable[[], None]:
        """Ask the reader at each scrape, in the thread that scrapes; returns the call that ends this."""
        self._readers.append(reader)

        def detach() -> None:
            if reader in self._readers:
                self._readers.remove(reader)

        return detach

    def replace(self, values: Mapping[Labels, float]) -> None:
        """Show these values, as read just now, in the place of those given before; for what is read on a timer."""
        self._replaced = dict(values)

    def fail(self) -> None:
        """The read on a timer failed: show none of its values until the next one, and count the error."""
        self._replaced = {}
        self._ledger.unreadable(self.spec.name)

    def read(self) -> dict[Values, float]:
        """All series now; a reader that fails is left out and counted."""
        children = self._series[Outcome.OK].shared.copy()
        readings = {values: child.value for values, child in children.items() if child.value is not None}
        sources: list[Reader] = [lambda: self._replaced, *self._readers]
        for reader in sources:
            try:
                self._merge(readings, self._asked(reader))
            except Exception:
                self._ledger.unreadable(self.spec.name)
        return readings

    def _asked(self, reader: Reader) -> dict[Values, float]:
        found = reader()
        if not isinstance(found, Mapping):
            return {self._values({}): float(found)}
        return {self._values(dict(labels)): float(value) for labels, value in found.items()}

    def _merge(self, readings: dict[Values, float], found: Mapping[Values, float]) -> None:
        for values, value in found.items():
            before = readings.get(values)
            readings[values] = value if before is None else self._aggregated(before, value)

    def _aggregated(self, one: float, other: float) -> float:
        match self.spec.aggregate:
            case Aggregate.SUM:
                return one + other
            case Aggregate.MAX:
                return max(one, other)
            case _:
                assert_never(self.spec.aggregate)


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram has seen under one label set."""

    cumulated: list[int]
    """Observations at or below each bound and, last, all of them."""
    sum: float

    @property
    def count(self) -> int:
        """All observations."""
        return self.cumulated[-1]


class Histogram(Instrument[HistogramChild]):
    """Observations by bucket. Meters observe each outcome apart; a reading adds them."""

    def __init__(self, spec: MetricSpec, ledger: Ledger, bounds: Bounds) -> None:
        super().__init__(spec, ledger)
        self.bounds = bounds

    def _new_child(self, owned: bool) -> HistogramChild:
        return HistogramChild(self.bounds) if owned else LockedHistogramChild(self.bounds, self._ledger.lock)

    def ended(self, outcome: Outcome, **labels: object) -> HistogramChild:
        """The child for operations that ended in this way."""
        return self._child(self._values(labels), outcome)

    def counts(self, outcome: Outcome) -> Iterator[tuple[Values, int]]:
        """Number of observations by label set, of one outcome; a label set may come more than once."""
        series = self._series.get(outcome)
        for part in series.parts() if series else ():
            for values, child in part.items():
                yield values, child.count

    def read(self) -> dict[Values, Distribution]:
        """All series now."""
        readings: dict[Values, Distribution] = {}
        for series in self._series.copy().values():
            for part in series.parts():
                for values, child in part.items():
                    found = Distribution(child.cumulated(), child.sum)
                    before = readings.get(values)
                    readings[values] = found if before is None else _added(before, found)
        return readings


def _added(one: Distribution, other: Distribution) -> Distribution:
    both = zip(one.cumulated, other.cumulated, strict=True)
    return Distribution([a + b for a, b in both], one.sum + other.sum)
