"""`holdfast verify metrics`: from the command line to a list of comparisons."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from urllib.parse import SplitResult, urlsplit

from holdfast.admin.reconcile import Samples
from holdfast.errors import ConfigurationError, RunnerUnavailable
from holdfast.runtime.config import resolve
from holdfast.storage.urls import masked
from holdfast.verify.metrics import SHARDS, Report, fetched, read, verify

from .database import store_named
from .exits import Exit
from .plain import shown
from .stores import opened

SECONDS_MAX = 86_400.0
NOT_COMPARED = "failed attempts, volatile messages and duplicates leave no row and are not compared"


def verify_metrics(store: str | None, pages: Sequence[str], *, seconds: float, as_json: bool) -> Exit:
    """FAILED where counters and store disagree. Raises ConfigurationError, RunnerUnavailable, StoreUnavailable."""
    if not 0 <= seconds <= SECONDS_MAX:
        raise ConfigurationError(f"--for is between 0 and {SECONDS_MAX:g} seconds, not {seconds:g}")
    config = resolve("holdfast", store=store)
    urls = [_page(page) for page in pages or ([f"http://{_host(*config.http)}"] if config.http else [])]
    if not urls:
        raise ConfigurationError("name the pages of the runners, such as http://127.0.0.1:9464/metrics")
    report = asyncio.run(_verify(store, urls, config.http_token, seconds))
    name = masked(store_named(store))
    print(json.dumps(_document(report, name, seconds)) if as_json else shown(_text(report, name, seconds)))
    return Exit.FAILED if report.wrong else Exit.OK


async def _verify(store: str | None, urls: Sequence[str], token: str | None, seconds: float) -> Report:
    async def pages() -> Samples:
        asking = (asyncio.to_thread(partial(fetched, url, token)) for url in urls)
        try:
            return read(await asyncio.gather(*asking))
        except ValueError as error:
            raise RunnerUnavailable(f"one of {', '.join(urls)} is no page of metrics: {error}") from error

    async with opened(store) as found:
        return await verify(found, pages, seconds=seconds)


def _page(url: str) -> str:
    """Raises ConfigurationError, which repeats no password."""
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or "@" in url:
        raise ConfigurationError(
            f"{masked(url)!r} is no page, such as http://127.0.0.1:9464/metrics; its token is HOLDFAST_HTTP_TOKEN"
        )
    return url if parts.path.strip("/") else f"{url.rstrip('/')}/metrics"


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else None
    except ValueError:  # of a port or an address in brackets
        return None


def _host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _document(report: Report, store: str, seconds: float) -> dict[str, object]:
    return {
        "agrees": not report.wrong,
        "store": store,
        "seconds": seconds,
        "compared": len(report.findings),
        "slack": report.slack,
        "disagreements": [finding._asdict() for finding in report.wrong],
        "findings": [finding._asdict() for finding in report.findings],
    }


def _text(report: Report, store: str, seconds: float) -> str:
    compared = len(report.findings)
    lines = [f"DISAGREEMENT  {finding}" for finding in report.wrong]
    if lines:
        lines.append(f"{len(lines)} of {compared} comparisons disagree")
    else:
        moving = f", to within the {report.slack:g} that moved while they were read" if report.slack else ""
        lines.append(f"counters and store agree in all {compared} comparisons{moving}")
    if any(finding.what == SHARDS for finding in report.wrong):
        lines.append("is the page of every runner named, and none twice? A supervisor's is that of all its runners")
    lines.append(f"{store}, what happened in {seconds:g} s; {NOT_COMPARED}")
    return "\n".join(lines)
