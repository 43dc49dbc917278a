"""`holdfast verify metrics`: what runners count while they run, held against the rows of their store.

Counters begin at zero with each process, and the store is older: so both sides are looked at twice, and what happened
in between is compared; gauges are compared by the second look alone. A look reads the store before and after the
pages. What the store's numbers moved in between is what the two sides may differ by; at rest that is nothing.

A counter follows its commit by a moment, hence the pause before the pages are read, and a second look that disagrees is
taken again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException
from typing import cast
from urllib.request import Request, urlopen

from prometheus_client import Metric
from prometheus_client.openmetrics import parser

from holdfast.admin.reconcile import COUNTERS, MESSAGES, Finding, Samples, disagreements, reconcile
from holdfast.errors import RunnerUnavailable
from holdfast.metrics.exposition import Format
from holdfast.model.ledger import Ledger
from holdfast.ports.store import ClientStore

LAG_S = 0.5
"""How far a count may be behind its commit."""
LOOKS_MAX = 6
ANSWER_S = 10.0
SHARDS = "shards with an owner"
"""What does not agree where a runner's page is missing, or was named twice."""

Pages = Callable[[], Awaitable[Samples]]
COUNTED = frozenset(rule.metric for rule in (*COUNTERS, *MESSAGES))


@dataclass(frozen=True, slots=True)
class Look:
    """The pages, between two readings of the store. `owned`: shards that have an owner."""

    before: Ledger
    samples: Samples
    owned: int
    after: Ledger


@dataclass(frozen=True, slots=True)
class Report:
    """What was compared."""

    findings: list[Finding]

    @property
    def wrong(self) -> list[Finding]:
        return disagreements(self.findings)

    @property
    def slack(self) -> float:
        """The most that two numbers were allowed to differ by."""
        return max((finding.slack for finding in self.findings), default=0)


async def verify(store: ClientStore, pages: Pages, *, seconds: float) -> Report:
    """Compares what happens within `seconds`. Raises RunnerUnavailable where a runner was started anew meanwhile."""
    first = await look(store, pages)
    await asyncio.sleep(seconds)
    findings: list[Finding] = []
    for _ in range(LOOKS_MAX):
        findings = compared(first, await look(store, pages))
        if not disagreements(findings):
            break
    return Report(findings)


async def look(store: ClientStore, pages: Pages) -> Look:
    before = await store.ledger.ledger()
    await asyncio.sleep(LAG_S)
    samples = await pages()
    owned = sum(1 for shard in await store.membership.shards() if shard.runner_id)
    return Look(before, samples, owned, await store.ledger.ledger())


def compared(first: Look, second: Look) -> list[Finding]:
    """Raises RunnerUnavailable where a counter fell."""
    windows = [(one.before, one.after) for one in (first, second)]
    grown = _grown(first.samples, second.samples)
    findings = reconcile(grown, second.after, since=first.after, windows=windows)
    return [*findings, Finding(SHARDS, "all groups", _sum(second.samples, "cluster_shards_assigned"), second.owned)]


def read(texts: Iterable[str]) -> Samples:
    """The sum of pages in OpenMetrics. Raises ValueError for what is none."""
    sums: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for text in texts:
        families = parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for family in cast("Iterable[Metric]", families):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                sums[key] = sums.get(key, 0) + sample.value
    return sums


def fetched(url: str, token: str | None) -> str:
    """A runner's page, or a supervisor's. Raises RunnerUnavailable."""
    headers = {"Accept": Format.OPENMETRICS.value, **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        with urlopen(Request(url, headers=headers), timeout=ANSWER_S) as answer:
            text: str = answer.read().decode()
    except (OSError, HTTPException, ValueError) as error:
        raise RunnerUnavailable(f"no metrics from {url}: {error}") from error
    return text


def _grown(first: Samples, second: Samples) -> Samples:
    """Counters as what they grew by, everything else as it is."""
    grown = dict(second)
    for key, before in first.items():
        if key[0] in COUNTED:
            grown[key] = second.get(key, 0) - before
            if grown[key] < 0:
                raise RunnerUnavailable(f"{key[0]} fell: a runner was started anew meanwhile; ask again")
    return grown


def _sum(samples: Samples, name: str) -> float:
    return sum(value for (found, _), value in samples.items() if found == name)
