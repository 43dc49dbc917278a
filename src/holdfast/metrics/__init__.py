"""Numbers that tell the truth about entities, jobs and whatever else is measured with them.

`MetricsService` is whole by itself: it needs no App. The catalogue says every metric, `BOUNDARIES` where histograms
are cut.
"""

from .boundaries import BOUNDARIES, FINE_BOUNDARIES, Boundaries, Preset
from .catalogue import BY_NAME, CATALOGUE, LABELS
from .children import CounterChild, GaugeChild, HistogramChild
from .instruments import Counter, Gauge, Histogram
from .label import Labels, error_tag, label
from .meters import ClusterOperation, JobOperation, OperationMeter, SubmitMeter
from .service import MetricsService
from .spec import Aggregate, Kind, MetricSpec, Outcome
from .trackers import Tracker

__all__ = [
    "MetricsService",
    "BOUNDARIES",
    "FINE_BOUNDARIES",
    "Boundaries",
    "Preset",
    "CATALOGUE",
    "BY_NAME",
    "LABELS",
    "MetricSpec",
    "Kind",
    "Aggregate",
    "Outcome",
    "Counter",
    "Gauge",
    "Histogram",
    "CounterChild",
    "GaugeChild",
    "HistogramChild",
    "OperationMeter",
    "SubmitMeter",
    "ClusterOperation",
    "JobOperation",
    "Tracker",
    "Labels",
    "label",
    "error_tag",
]
