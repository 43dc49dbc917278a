"""`MetricsService`: the instruments of the catalogue, the helpers around them, and their exposition.

It needs nothing else of Holdfast: make one, count with it, and serve `exposition()`. Counting is safe from every
thread; the thread that made the service, or the last one that called `own_thread`, counts without a lock.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
from time import perf_counter
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector

from .boundaries import PRESETS, Preset
from .exposition import negotiated
from .instruments import Counter, Gauge, Histogram
from .label import Labels, label
from .meters import CLUSTER_OPERATIONS, JOB_OPERATIONS, ClusterOperation, JobOperation, Meter
from .namespaces import (
    AnyInstrument,
    Cluster,
    Errors,
    Http,
    Jobs,
    Namespace,
    Runtime,
    Service,
    Singleton,
    Storage,
    Stream,
    Workers,
)
from .reading import read, samples
from .scrape import Scrape
from .series import Ledger
from .streams import counted, counted_with_progress
from .trackers import EffectMeter, Tracker, remembered

T = TypeVar("T")


class MetricsService:
    """The metrics of one process. See the reference page for every metric; `docs/metrics.md`."""

    cluster: Cluster
    jobs: Jobs
    http: Http
    singleton: Singleton
    stream: Stream
    workers: Workers
    errors: Errors
    storage: Storage
    runtime: Runtime
    service: Service

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        buckets: Preset = "default",
        series_max: int = 2000,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Registers a collector in the registry, or in a new one that also has the process's own metrics.

        buckets: the preset of histogram bounds. series_max: label sets a metric may have before some are folded.
        clock: what the trackers measure durations with, in seconds. Raises ValueError for an unknown preset, a
        limit below one, or a registry that already has metrics of these names.
        """
        if buckets not in PRESETS:
            raise ValueError(f"unknown buckets {buckets!r}; known are {', '.join(PRESETS)}")
        if series_max < 1:
            raise ValueError(f"series_max is {series_max}; a metric needs at least one series")
        self._ledger = ledger = Ledger(series_max)
        self._clock = clock
        boundaries = PRESETS[buckets]
        self._namespaces: tuple[Namespace, ...] = (
            cluster := Cluster(ledger, boundaries),
            jobs := Jobs(ledger, boundaries),
            http := Http(ledger, boundaries),
            singleton := Singleton(ledger, boundaries),
            stream := Stream(ledger, boundaries),
            workers := Workers(ledger, boundaries),
            errors := Errors(ledger, boundaries),
            storage := Storage(ledger, boundaries),
            runtime := Runtime(ledger, boundaries),
            service := Service(ledger, boundaries),
        )
        self.cluster, self.jobs, self.http, self.singleton, self.stream = cluster, jobs, http, singleton, stream
        self.workers, self.errors, self.storage, self.runtime, self.service = workers, errors, storage, runtime, service
        self._by_name: dict[str, AnyInstrument] = {found.spec.name: found for found in self.instruments()}
        self._connect_derived()
        ledger.overflowed = lambda metric: service.overflow.labels(metric=metric).inc()
        ledger.unreadable = lambda metric: service.collector_errors.labels(collector=metric).inc()
        self.registry = registry if registry is not None else CollectorRegistry()
        self._scrape = Scrape(tuple(self._by_name.values()), service, self.registry, ledger)
        if registry is None:
            ProcessCollector(registry=self.registry)

    def _connect_derived(self) -> None:
        for instrument in self._by_name.values():
            if isinstance(instrument, Counter) and instrument.spec.derived is not None:
                source = self._by_name[instrument.spec.derived.histogram]
                assert isinstance(source, Histogram), source
                instrument.derive_from(source)

    def own_thread(self) -> None:
        """Make the calling thread the one whose children take no lock; for the thread of the event loop.

        Children and meters asked for before by the former owner stay right as long as only it uses them.
        """
        with self._ledger.lock:
            if not self._ledger.owned_here():
                self._ledger.own()
                for instrument in self.instruments():
                    instrument.retire_own()

    def close(self) -> None:
        """Leave the registry. Counting goes on to work; calling it twice is harmless."""
        self._scrape.unregister()

    label = staticmethod(label)

    def inc(self, counter: Counter, labels: Labels = frozenset(), value: float = 1) -> None:
        """Add to a counter; raises ValueError for a negative value or a label it does not have."""
        counter.at(labels).inc(value)

    def gauge(self, gauge: Gauge, labels: Labels = frozenset(), delta: float = 1) -> None:
        """Add to a gauge; raises ValueError for a label it does not have."""
        gauge.at(labels).inc(delta)

    def set(self, gauge: Gauge, labels: Labels, value: float) -> None:
        """Set a gauge; raises ValueError for a label it does not have."""
        gauge.at(labels).set(value)

    def observe(self, histogram: Histogram, labels: Labels, value: float) -> None:
        """Observe into a histogram, in its unit; raises ValueError for NaN or a label it does not have."""
        if value != value:
            raise ValueError("NaN is not an observation")
        histogram.at(labels).observe(value)

    def track_cluster(self, *, operation: ClusterOperation, entity_type: str) -> Tracker:
        """Measure an operation on entities: duration always, sent or received on success, else the error's reason.

        Raises ValueError for an unknown operation.
        """
        if operation not in CLUSTER_OPERATIONS:
            raise ValueError(f"unknown operation {operation!r}; known are {', '.join(CLUSTER_OPERATIONS)}")

        def meter() -> Meter:
            return self.cluster.meter(operation=operation, entity_type=entity_type)

        return Tracker(remembered(meter, self._ledger), self._clock)

    def track_job(self, *, job_type: str, operation: JobOperation, priority: str | None = None) -> Tracker:
        """Measure an operation on jobs: duration always, enqueued or cancelled on success, else the error's reason.

        Raises ValueError for an unknown operation.
        """
        if operation not in JOB_OPERATIONS:
            raise ValueError(f"unknown operation {operation!r}; known are {', '.join(JOB_OPERATIONS)}")

        def meter() -> Meter:
            return self.jobs.meter(operation=operation, job_type=job_type, priority=priority)

        return Tracker(remembered(meter, self._ledger), self._clock, counts_accepted=operation == "submit")

    def track_effect(
        self,
        *,
        duration: Histogram | None = None,
        errors: Counter | None = None,
        labels: Labels | Mapping[str, object] | None = None,
    ) -> Tracker:
        """Measure anything: its duration, and its errors by reason; each instrument gets those labels it has."""
        pairs = label(labels if isinstance(labels, Mapping) else dict(labels or ()))
        meter = EffectMeter(duration, errors, pairs)
        return Tracker(lambda: meter, self._clock)

    def track_stream(
        self, aiter: AsyncIterable[T], counter: Counter, labels: Labels = frozenset()
    ) -> AsyncGenerator[T, None]:
        """The same elements, each counted."""
        return counted(aiter, counter, labels)

    def track_stream_progress(
        self, aiter: AsyncIterable[T], counter: Counter, labels: Labels = frozenset(), log_interval: int = 1000
    ) -> AsyncGenerator[T, None]:
        """The same, with a line in the log (logger `holdfast.metrics`) every so many elements and at the end.

        Raises ValueError for an interval below one.
        """
        if log_interval < 1:
            raise ValueError(f"log_interval is {log_interval}; it counts elements and must be at least 1")
        return counted_with_progress(aiter, counter, labels, log_interval)

    def instruments(self) -> Iterator[AnyInstrument]:
        """All instruments, in the catalogue's order."""
        for namespace in self._namespaces:
            yield from namespace.instruments()

    def exposition(self, accept: str | None = None) -> tuple[str, bytes]:
        """(content type, body) of a scrape in the format that the Accept header asks for.

        Has all of the registry: our metrics and what others registered. Meant for a thread that is not the event
        loop's: there it steps back often enough not to hold the loop up.
        """
        form = negotiated(accept)
        return form.value, self._scrape.written(form)

    def snapshot(self) -> dict[tuple[str, Labels], float]:
        """Every sample as a scrape would show it, by name and labels; for tests and reconciliation."""
        found = (sample for instrument in self.instruments() for sample in samples(read(instrument)))
        return {(sample.name, sample.labels): sample.value for sample in found}

    def value(self, name: str, **labels: object) -> float:
        """The sum of the samples of this name that have these labels, whatever their other labels.

        name is a sample's (`..._count`, `..._sum`, `..._bucket` with `le` for a histogram). Nothing counted is zero.
        Raises KeyError for a name that is in no metric, and LookupError for a gauge that has no such series: it may
        be unknown now, which is not zero.
        """
        instrument = self._named(name)
        if not isinstance(instrument, Histogram):
            return instrument.value(**labels)
        wanted = label(labels)
        return sum(one.value for one in samples(read(instrument)) if one.name == name and wanted <= one.labels)

    def _named(self, name: str) -> AnyInstrument:
        for suffix in ("", "_count", "_sum", "_bucket"):
            instrument = self._by_name.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if instrument is not None and (suffix != "") == isinstance(instrument, Histogram):
                return instrument
        raise KeyError(f"no metric has samples named {name!r}")
