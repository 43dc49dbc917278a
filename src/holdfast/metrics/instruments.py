"""Counters, gauges and histograms: what each kind hands out, and how all its series are read.

Readings are plain values by label set. They are taken while others count on, and each series only ever moves the
way its kind allows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import assert_never

from .boundaries import Bounds
from .cardinality import FOLDED_MAX, Values, candidates
from .children import CounterChild, GaugeChild, HistogramChild, LockedCounterChild, LockedHistogramChild
from .label import Labels, label
from .pacing import Pause, no_pause, paced
from .series import Instrument, Ledger
from .spec import Aggregate, MetricSpec, Outcome


class Counter(Instrument[CounterChild]):
    """Only grows. What the catalogue says it derives from a histogram is part of every reading."""

    def __init__(self, spec: MetricSpec, ledger: Ledger) -> None:
        super().__init__(spec, ledger)
        self._source: Histogram | None = None
        self._pick: Callable[[Values], Values] = tuple

    def _new_child(self, owned: bool) -> CounterChild:
        return CounterChild() if owned else LockedCounterChild(self._ledger.lock)

    def read(self, pause: Pause = no_pause) -> dict[Values, float]:
        """All series now."""
        readings: dict[Values, float] = {}
        for part in self._series[Outcome.OK].parts():
            for chunk in paced(part.items(), pause):
                for values, child in chunk:
                    readings[values] = readings.get(values, 0) + child.value
        for values, count in self._derived(pause):
            readings[values] = readings.get(values, 0) + count
        return readings

    def value(self, **labels: object) -> float:
        """The sum of the series that have these labels, whatever their others; nothing counted is zero."""
        return sum(_matching(self.read(), self.spec, labels))

    def derive_from(self, source: "Histogram") -> None:
        """Count the source's observations as the catalogue says this counter follows from them."""
        names = [*source.spec.labels, "outcome"]
        self._source = source
        self._pick = itemgetter(*(names.index(name) for name in self.spec.labels))

    def _derived(self, pause: Pause) -> Iterator[tuple[Values, int]]:
        rule, source = self.spec.derived, self._source
        if rule is None or source is None:
            return
        operation_place = source.spec.labels.index("operation")
        for outcome in Outcome if rule.outcome is None else (rule.outcome,):
            for values, count in source.counts(outcome, pause):
                if rule.operation is None or values[operation_place] == rule.operation:
                    yield self._pick((*values, outcome.value)), count


def _matching(readings: Mapping[Values, float], spec: MetricSpec, labels: Mapping[str, object]) -> list[float]:
    wanted = label(labels)
    pairs = ((zip(spec.labels, values, strict=True), value) for values, value in readings.items())
    return [value for present, value in pairs if wanted <= set(present)]


Reader = Callable[[], "Mapping[Labels, float] | float"]
"""What a gauge is fed by: the value, or values by label set, as they are now; raises if it cannot tell."""


class Gauge(Instrument[GaugeChild]):
    """Goes up and down: written by children, read from elsewhere at each scrape, or replaced as a whole.

    A value that could not be read is not shown at all, so that nobody takes a failure for a zero.
    """

    _one_for_all = True  # two parts of a value that is set cannot be added

    def __init__(self, spec: MetricSpec, ledger: Ledger) -> None:
        super().__init__(spec, ledger)
        self._readers: list[Reader] = []
        self._replaced: Mapping[Labels, float] = {}

    def _new_child(self, owned: bool) -> GaugeChild:
        return GaugeChild(self._ledger.lock)

    def _child(self, values: Values, outcome: Outcome = Outcome.OK) -> GaugeChild:
        child = self._series[outcome].shared.get(values)
        return child if child is not None else self._admit(values, outcome)

    def value(self, **labels: object) -> float:
        """The sum of the series that have these labels; LookupError if there is none, as unknown is not zero."""
        found = _matching(self.read(), self.spec, labels)
        if not found:
            raise LookupError(f"{self.spec.name} has no series with {dict(label(labels))} now")
        return sum(found)

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

    def read(self, pause: Pause = no_pause) -> dict[Values, float]:
        """All series now; a reader that fails is left out and counted."""
        children = self._series[Outcome.OK].shared.copy()
        readings = {values: child.value for values, child in children.items() if child.value is not None}
        sources: list[Reader] = [lambda: self._replaced, *self._readers]
        for reader in sources:
            try:
                for chunk in paced(self._asked(reader).items(), pause):
                    self._merge(readings, chunk)
            except Exception:
                self._ledger.unreadable(self.spec.name)
        return readings

    def _asked(self, reader: Reader) -> dict[Values, float]:
        found = reader()
        if not isinstance(found, Mapping):
            return {self._values({}): float(found)}
        return {self._values(dict(labels)): float(value) for labels, value in found.items()}

    def _merge(self, readings: dict[Values, float], found: Iterable[tuple[Values, float]]) -> None:
        for values, value in found:
            place = values if values in readings else self._with_room(values, len(readings))
            before = readings.get(place)
            readings[place] = value if before is None else self._aggregated(before, value)

    def _with_room(self, values: Values, count: int) -> Values:
        if count < self._ledger.series_max:
            return values
        self._ledger.overflowed(self.spec.name)
        _mild, strong, total = candidates(values, None, self._user_places)
        return strong if count < self._ledger.series_max + FOLDED_MAX else total

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
    """Observations by bucket. Meters observe each outcome apart, a reading adds them; without a meter it is `ok`."""

    def __init__(self, spec: MetricSpec, ledger: Ledger, bounds: Bounds) -> None:
        super().__init__(spec, ledger)
        self.bounds = bounds

    def _new_child(self, owned: bool) -> HistogramChild:
        return HistogramChild(self.bounds) if owned else LockedHistogramChild(self.bounds, self._ledger.lock)

    def ended(self, outcome: Outcome, **labels: object) -> HistogramChild:
        """The child for operations that ended in this way."""
        return self._child(self._values(labels), outcome)

    def counts(self, outcome: Outcome, pause: Pause = no_pause) -> Iterator[tuple[Values, int]]:
        """Number of observations by label set, of one outcome; a label set may come more than once."""
        series = self._series.get(outcome)
        for part in series.parts() if series else ():
            for chunk in paced(part.items(), pause):
                yield from ((values, child.count) for values, child in chunk)

    def read(self, pause: Pause = no_pause) -> dict[Values, Distribution]:
        """All series now."""
        readings: dict[Values, Distribution] = {}
        for series in self._series.copy().values():
            for part in series.parts():
                for chunk in paced(part.items(), pause):
                    for values, child in chunk:
                        found = Distribution(child.cumulated(), child.sum)
                        before = readings.get(values)
                        readings[values] = found if before is None else _added(before, found)
        return readings


def _added(one: Distribution, other: Distribution) -> Distribution:
    both = zip(one.cumulated, other.cumulated, strict=True)
    return Distribution([a + b for a, b in both], one.sum + other.sum)
