"""What a scrape reads: every metric that has a series, as plain values.

Both ways out, the own renderer and the collector for prometheus-client, are fed from here, so they cannot disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .boundaries import Bounds
from .cardinality import Values
from .instruments import Distribution, Histogram
from .label import Labels
from .namespaces import AnyInstrument
from .pacing import Pause, no_pause
from .spec import MetricSpec


@dataclass(frozen=True, slots=True)
class Numbers:
    """A counter or gauge as read."""

    spec: MetricSpec
    series: dict[Values, float]


@dataclass(frozen=True, slots=True)
class Distributions:
    """A histogram as read."""

    spec: MetricSpec
    series: dict[Values, Distribution]
    bounds: Bounds


Reading = Numbers | Distributions


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a scrape."""

    name: str
    labels: Labels
    value: float


def read(instrument: AnyInstrument, pause: Pause = no_pause) -> Reading:
    """All series of one instrument now."""
    if isinstance(instrument, Histogram):
        return Distributions(instrument.spec, instrument.read(pause), instrument.bounds)
    return Numbers(instrument.spec, instrument.read(pause))


def labels_of(spec: MetricSpec, values: Values) -> dict[str, str]:
    """The labels that are present."""
    return {name: value for name, value in zip(spec.labels, values, strict=True) if value}


def bound_texts(bounds: Bounds) -> list[str]:
    """The values of the label `le`, infinity included; both formats want them as floats."""
    return [*(repr(float(bound)) for bound in bounds), "+Inf"]


def samples(reading: Reading) -> Iterator[Sample]:
    """The reading line by line, in the order a scrape shows it."""
    match reading:
        case Numbers(spec, series):
            for values, value in series.items():
                yield Sample(spec.name, frozenset(labels_of(spec, values).items()), value)
        case Distributions(spec, series, bounds):
            for values, found in series.items():
                pairs = labels_of(spec, values)
                for le, count in zip(bound_texts(bounds), found.cumulated, strict=True):
                    yield Sample(f"{spec.name}_bucket", frozenset({**pairs, "le": le}.items()), count)
                yield Sample(f"{spec.name}_count", frozenset(pairs.items()), found.count)
                yield Sample(f"{spec.name}_sum", frozenset(pairs.items()), found.sum)
