"""The journal as the runner watches it: how long commits take, how large they are, whether one hangs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

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
        self._under_way: list[float] = []

    @property
    def stalled_s(self) -> float:
        """Seconds for which the oldest commit in flight has taken so far; callable from any thread."""
        under_way = tuple(self._under_way)
        return perf_counter() - min(under_way) if under_way else 0.0

    def commit(self, units: Sequence[Unit]) -> Awaitable[None] | None:
        self._rows(sum(len(unit.rows) for unit in units))
        started = perf_counter()
        self._under_way.append(started)
        try:
            pending = self._journal.commit(units)
        except Exception as error:
            self._under_way.remove(started)
            self._failed(error, started)
            raise
        if pending is not None:
            return self._pending(pending, started)
        self._under_way.remove(started)
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
        finally:
            self._under_way.remove(started)
        self._ok(perf_counter() - started)

    def _failed(self, error: Exception, started: float) -> None:
        self._seconds.labels(operation="commit", outcome="error").observe(perf_counter() - started)
        if isinstance(error, FencedOut):
            self._fenced.inc()
            self._on_fenced()
