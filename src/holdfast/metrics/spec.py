"""The words a metric is described with: the record that every instrument, page, dashboard and test is made from."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from .boundaries import Scale


class Kind(StrEnum):
    """What a metric counts like."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Aggregate(StrEnum):
    """How the values of several runners become one."""

    SUM = "sum"
    MAX = "max"


class Outcome(StrEnum):
    """How an operation ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"


NamespaceName = Literal[
    "cluster", "jobs", "http", "singleton", "stream", "workers", "errors", "storage", "runtime", "service", "process"
]


@dataclass(frozen=True, slots=True)
class Derived:
    """A counter that follows from the observations of a histogram, so that it costs nothing when they are made.

    The counter of a label set is the number of observations with the same values in the labels both have. A meter
    observes each outcome apart, so each part only grows and the counter is monotonic as a counter must be.
    """

    histogram: str
    """Exposed name of the histogram."""
    operation: str | None = None
    """Only observations with this value of the label `operation`; None for all."""
    outcome: Outcome | None = None
    """Only observations with this outcome; None for all, and the counter then has a label `outcome`."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric, said once."""

    namespace: NamespaceName
    attribute: str
    """Name of the instrument in its namespace."""
    name: str
    """Exposed name; fixed, because dashboards read it."""
    kind: Kind
    help: str
    owner: str
    """Who counts it; exactly one place."""
    labels: tuple[str, ...] = ()
    """The schema: these label names and no others, in this order."""
    unit: str = ""
    """Base unit (seconds, bytes), or empty for a plain number."""
    aggregate: Aggregate = Aggregate.SUM
    scale: Scale | None = None
    """Which boundaries a histogram uses."""
    derived: Derived | None = None
    otel_name: str = field(default="", kw_only=True)
    """OpenTelemetry name; the semantic conventions' where they have one, else made of namespace and attribute."""

    def __post_init__(self) -> None:
        if (self.kind is Kind.HISTOGRAM) != (self.scale is not None):
            raise ValueError(f"{self.name}: a histogram, and only a histogram, has a scale")
        if not self.otel_name:
            object.__setattr__(self, "otel_name", f"holdfast.{self.namespace}.{self.attribute}")
