"""`holdfast demo`: runs the shop, shows it, and compares its counters with its store.

The time given is for the load; what follows is a drain, so that nothing moves while both sides are read, and the
comparison. Everything lives in a temporary directory, unless a store is given.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

from holdfast.admin.reconcile import Finding, disagreements, reconcile
from holdfast.cli.consoles import console
from holdfast.cli.exits import Exit
from holdfast.cli.logs import log_to_stderr
from holdfast.cli.loops import run_on
from holdfast.cli.signals import StopSignals
from holdfast.errors import ConfigurationError
from holdfast.metrics import MetricsService
from holdfast.model.ledger import Ledger
from holdfast.ports.reads import LedgerReader
from holdfast.runtime.config import absolute
from holdfast.settings import ClusterSettings, EntitySettings, JobSettings, Settings
from holdfast.storage.open import open_client_store
from holdfast.storage.urls import masked, scheme
from holdfast.web.app import App

from .load import Load
from .readings import Reading, Snapshot, reading
from .shop import shop
from .summary import Summary, as_document, tell
from .view import View, view_for

RATE_MAX = 2000.0
LOOK_EVERY_S = {True: 0.5, False: 1.0}
"""Between two looks, on a terminal and elsewhere."""
PATIENCE_S = 1.0
"""Seconds that customers get to finish when the time is over."""
DRAIN_S = 2.0
AGAIN_S = 0.1
READINGS_MAX = 10
"""Readings that may disagree before it counts: a job may come due between the look at one side and at the other."""

SETTINGS = Settings(
    entities=EntitySettings(retry_first=0.1),
    jobs=JobSettings(retry_first=0.1, retry_max=1.0),
    cluster=ClusterSettings(drain_timeout=DRAIN_S),
)
"""Short pauses between tries, so that a demo of seconds has seen retries and dead letters."""


def run_demo(*, seconds: float | None, rate: float, http: str, store: str | None, as_json: bool) -> Exit:
    """FAILED where counters and store disagree, or something unexpected was raised. Raises ConfigurationError."""
    if seconds is not None and not 0 < seconds < 1e6:
        raise ConfigurationError(f"--for takes seconds above 0, not {seconds:g}")
    if not 0 < rate <= RATE_MAX:
        raise ConfigurationError(f"--rate takes customers a second, above 0 and at most {RATE_MAX:g}, not {rate:g}")
    log_to_stderr("error")
    with _store_url(store) as url:
        summary = run_on("uvloop", Demo(url, rate=rate, quiet=as_json).run(http, seconds))
    if as_json:
        print(json.dumps(as_document(summary)))
    else:
        tell(console(), summary)
    return summary.exit


class Demo:
    """One run of the shop."""

    def __init__(self, store: str, *, rate: float, quiet: bool) -> None:
        self._app = App("shop", modules=[shop], settings=SETTINGS, metrics=MetricsService(buckets="fine"))
        self._store = store
        self._load = Load(self._app, rate=rate, run=secrets.token_hex(3))
        self._console = console()
        self._quiet = quiet
        self._began = 0.0

    async def run(self, http: str, seconds: float | None) -> Summary:
        """Ends with the time, or with a first signal; a second one cancels it."""
        task = asyncio.current_task()
        assert task is not None
        with StopSignals(task) as signals:
            async with self._app.runner(store=self._store, http=http) as node, _reader(self._store) as reader:
                since = await reader.ledger()
                title = f"shop on {masked(node.store_url)}, metrics at {node.http}/metrics"
                with closing(view_for(self._console, title=title, quiet=self._quiet)) as view:
                    await self._serve_customers(view, signals.asked, seconds)
                await node.drain()
                findings = await self._compared(reader, since)
                last = self._look({}, time.perf_counter() - self._began)
        return Summary(masked(self._store), last, findings, self._load.turned_away, self._load.surprises)

    async def _serve_customers(self, view: View, asked: asyncio.Event, seconds: float | None) -> None:
        self._began = time.perf_counter()
        await self._load.start()
        try:
            await self._watch(view, asked, seconds)
        finally:
            await self._load.stop(patience_s=PATIENCE_S)

    async def _watch(self, view: View, asked: asyncio.Event, seconds: float | None) -> None:
        """Shows what happens until the time is over or somebody asks to stop."""
        end = float("inf") if seconds is None else self._began + seconds
        before, looked_at = self._app.metrics.snapshot(), self._began
        while (left := end - time.perf_counter()) > 0 and not asked.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(asked.wait(), min(left, LOOK_EVERY_S[self._console.is_terminal]))
            now = time.perf_counter()
            view.show(self._look(before, now - looked_at))
            before, looked_at = self._app.metrics.snapshot(), now

    def _look(self, before: Snapshot, since_s: float) -> Reading:
        seconds = time.perf_counter() - self._began
        return reading(self._app.metrics.snapshot(), before, seconds=seconds, since_s=since_s)

    async def _compared(self, reader: LedgerReader, since: Ledger) -> list[Finding]:
        """Reads both sides until they agree, a bounded number of times."""
        findings: list[Finding] = []
        for _ in range(READINGS_MAX):
            findings = reconcile(self._app.metrics.snapshot(), await reader.ledger(), since=since)
            if not disagreements(findings):
                break
            await asyncio.sleep(AGAIN_S)
        return findings


@asynccontextmanager
async def _reader(store: str) -> AsyncGenerator[LedgerReader, None]:
    """The store's own counts, over connections that the runner has nothing to do with."""
    opened = await open_client_store(store)
    try:
        yield opened.ledger
    finally:
        await opened.close()


@contextmanager
def _store_url(store: str | None) -> Generator[str, None, None]:
    """The store that was given, or a temporary one that is gone at the end."""
    if store is not None:
        if scheme(store) == "memory":
            raise ConfigurationError("the demo reads its store from outside: it needs sqlite:///<file>, not memory:")
        yield absolute(store)
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as folder:
        yield f"sqlite:///{Path(folder) / 'shop.db'}"
