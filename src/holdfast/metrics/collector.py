"""The service's side of prometheus-client: its metrics in a registry, and the registry's other metrics in ours.

The collector puts the readings into any registry, so that a program that already serves one shows Holdfast's
metrics beside its own. The other way round, what others registered is part of our exposition; while that is written
the collector keeps still in this thread, or it would be shown twice.
"""

from collections.abc import Callable, Iterable, Iterator
from threading import get_ident

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from .catalogue import CATALOGUE
from .exposition import Format, family_name, unit_of
from .reading import Distributions, Numbers, Reading, bound_texts, labels_of
from .spec import MetricSpec

_OPENMETRICS_END = b"# EOF\n"


class Collector:
    """Feeds readings to prometheus-client."""

    def __init__(self, readings: Callable[[], Iterator[Reading]]) -> None:
        self._readings = readings
        self._still_in: set[int] = set()

    def describe(self) -> Iterable[Metric]:
        """All families there may be, so that a registry refuses a second one of the same name."""
        return [_family(spec) for spec in CATALOGUE if spec.namespace != "process"]

    def collect(self) -> Iterator[Metric]:
        """All families that have a series."""
        if get_ident() not in self._still_in:
            for reading in self._readings():
                if reading.series:
                    yield _filled(reading)

    def others(self, registry: CollectorRegistry) -> "Others":
        """What the registry's other collectors have; those after one that raises are lost to this scrape."""
        found: list[Metric] = []
        self._still_in.add(get_ident())
        try:
            for family in registry.collect():
                found.append(family)
        except Exception:
            return Others(found, complete=False)
        finally:
            self._still_in.discard(get_ident())
        return Others(found, complete=True)


class Others:
    """Families of other collectors, read once."""

    def __init__(self, families: list[Metric], *, complete: bool) -> None:
        self._families = families
        self.complete = complete

    def written(self, form: Format) -> bytes:
        """Their lines; raises what prometheus-client raises about a family it cannot write."""
        registry = CollectorRegistry()
        registry.register(self)
        write, _content_type = choose_encoder(form.value)
        return write(registry).removesuffix(_OPENMETRICS_END)

    def collect(self) -> Iterable[Metric]:
        """The families, for prometheus-client's writers."""
        return self._families


def _family(spec: MetricSpec) -> Metric:
    return Metric(family_name(spec), spec.help, spec.kind.value, unit_of(spec))


def _filled(reading: Reading) -> Metric:
    spec = reading.spec
    family = _family(spec)
    match reading:
        case Numbers():
            for values, value in reading.series.items():
                family.add_sample(spec.name, labels_of(spec, values), value)
        case Distributions():
            les = bound_texts(reading.bounds)
            for values, found in reading.series.items():
                labels = labels_of(spec, values)
                for le, count in zip(les, found.cumulated, strict=True):
                    family.add_sample(f"{spec.name}_bucket", {**labels, "le": le}, count)
                family.add_sample(f"{spec.name}_count", labels, found.count)
                family.add_sample(f"{spec.name}_sum", labels, found.sum)
    return family
