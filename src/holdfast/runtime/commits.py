"""The journal as the runner watches it: how long commits take, how large they are, whether one hangs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, perf_counter

from holdfast.errors import FencedOut
from holdfast.metrics import MetricsService
from holdfast.model.unit import Unit
from holdfast.ports.journal import Journal, OpenTransaction


class MeteredJournal:
    """`Journal` with its numbers."""

    def __init__(self, journal: Journal, metrics: MetricsService, *, on_fenced: Callable[[], None]) -> None:
        """`on_fenced` is called when a write was fenced out: this incarnation may have been reaped."""
        self._journal = journal
        self._on_fenced = on_fenced
        self._seconds = metrics.storage.operation
        self._ok = self._seconds.labels(operation="commit", outcome="ok").observe
        self._rows = metrics.storage.batch_rows.labels(operation="commit").observe
        self._fenced = metrics.cluster.fencing_rejections.labels()
        self._began_at: float | None = None

    @property
    def stalled_s(self) -> float:
        """Seconds for which the commit in flight has taken so far; callable from any thread."""
        began_at = self._began_at
        return 0.0 if began_at is None else monotonic() - began_at

    def commit(self, units: Sequence[Unit]) -> Awaitable[None] | None:
        self._rows(sum(len(unit.rows) for unit in units))
        self._began_at = monotonic()
        started = perf_counter()
        try:
            pending = self._journal.commit(units)
        except Exception as error:
            self._failed(error, started)
            raise
        if pending is not None:
            return self._pending(pending, started)
        self._began_at = None
        self._ok(perf_counter() - started)
        return None

    async def begin(self, *, timeout_s: float) -> OpenTransaction:
        return await self._journal.begin(timeout_s=timeout_s)

    async def _pending(self, pending: Awaitable[None], started: float) -> None:
        try:
            await pending
        except Exception as error:
            self._failed(error, started)
            raise
        self._began_at = None
        self._ok(perf_counter() - started)

    def _failed(self, error: Exception, started: float) -> None:
        self._began_at = None
        self._seconds.labels(operation="commit", outcome="error").observe(perf_counter() - started)
        if isinstance(error, FencedOut):
            self._fenced.inc()
            self._on_fenced()
