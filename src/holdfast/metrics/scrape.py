"""One scrape: every metric read once, what others registered beside it, and the scrape's own numbers last.

A scrape runs in any thread while the owner counts on, and steps back often (see `pacing`). Nothing that cannot be
read makes a scrape fail: it is missing from it, and counted.
"""

from collections.abc import Iterator
from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry

from .collector import Collector
from .exposition import Format, pieces
from .label import Labels, label
from .namespaces import AnyInstrument, Service
from .pacing import Pause, no_pause, paced, step_back
from .reading import Reading, read
from .series import Ledger

_METRICS_AT_ONCE: Final = 10


class Scrape:
    """Reads the instruments for both ways out; registers a collector for one of them."""

    def __init__(
        self, instruments: tuple[AnyInstrument, ...], service: Service, registry: CollectorRegistry, ledger: Ledger
    ) -> None:
        self._instruments = instruments
        self._service = service
        self._registry = registry
        self._ledger = ledger
        self._collector = Collector(self.readings)
        self._registered = True
        registry.register(self._collector)

    def unregister(self) -> None:
        """Take the collector out of the registry; once is enough, twice does no harm."""
        if self._registered:
            self._registered = False
            self._registry.unregister(self._collector)

    def readings(self) -> Iterator[Reading]:
        """All metrics that have a series, as they are now, in the catalogue's order."""
        started, pause = perf_counter(), self._pause()
        counts: dict[Labels, float] = {}
        for chunk in paced(self._instruments, pause, every=_METRICS_AT_ONCE):
            for instrument in chunk:
                if instrument is self._service.series:
                    self._service.series.replace(counts)
                elif instrument is self._service.collect:
                    self._service.collect.labels().observe(perf_counter() - started)
                reading = read(instrument, pause)
                if reading.series:
                    counts[label(metric=reading.spec.name)] = len(reading.series)
                    yield reading

    def written(self, form: Format) -> bytes:
        """The whole scrape in one format."""
        pause = self._pause()
        others = self._others(form)  # before our own, which count what went wrong with them
        pause()
        parts = [*self._own(form, pause), others]
        if form is Format.OPENMETRICS:
            parts.append(b"# EOF\n")
        pause()
        return b"".join(parts)

    def _own(self, form: Format, pause: Pause) -> Iterator[bytes]:
        for reading in self.readings():
            for piece in pieces(reading, form):
                yield piece.encode()
                pause()

    def _pause(self) -> Pause:
        return no_pause if self._ledger.owned_here() else step_back

    def _others(self, form: Format) -> bytes:
        others = self._collector.others(self._registry)
        if not others.complete:
            self._ledger.unreadable("registry")
        try:
            return others.written(form)
        except Exception:
            self._ledger.unreadable("registry")
            return b""
