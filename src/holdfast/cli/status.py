"""`holdfast status`: who runs, who owns what, and what the store counts; read from the store, as a client would."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.admin import nodes
from holdfast.admin.nodes import NOBODY, Cluster
from holdfast.model.job import PRIORITIES
from holdfast.model.ledger import Ledger
from holdfast.storage.urls import masked

from .consoles import console, table
from .exits import Exit
from .nodes import print_nodes, runner_document
from .plain import escaped
from .stores import opened

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """One look."""

    store: str
    cluster: Cluster
    ledger: Ledger


def show_status(store: str | None, *, as_json: bool) -> Exit:
    """Raises StoreUnavailable for a store that is not there, and SchemaMismatch."""
    found = asyncio.run(look(store))
    if as_json:
        print(json.dumps(as_document(found)))
    else:
        _print(found)
    return Exit.OK


async def look(store: str | None) -> StoreStatus:
    """Reads; makes nothing, not even the file."""
    async with opened(store) as found:
        return StoreStatus(
            store=masked(found.url), cluster=await nodes.look(found.membership), ledger=await found.ledger.ledger()
        )


def as_document(found: StoreStatus) -> dict[str, object]:
    """For `--json`. Moments are seconds since the epoch."""
    ledger, cluster = found.ledger, found.cluster
    return {
        "store": found.store,
        "runners": [runner_document(cluster, row) for row in cluster.runners],
        "shards": {"count": len(cluster.shards), "unowned": cluster.owned[NOBODY]},
        "entities_stored": ledger.entities_stored,
        "inbox": ledger.inbox,
        "jobs": [
            {**one._asdict(), "priority": PRIORITIES[one.priority], "live": one.live, "dlq_size": one.dlq_size}
            for one in ledger.jobs
        ],
        "messages": [one._asdict() for one in ledger.messages],
    }


def _print(found: StoreStatus) -> None:
    say = console().print
    ledger, cluster = found.ledger, found.cluster
    say(escaped(found.store))
    say(
        f"{len(cluster.shards)} shards ({cluster.owned[NOBODY]} without owner), {ledger.entities_stored} entities with "
        f"a state, {ledger.inbox} in the inbox"
    )
    print_nodes(cluster)
    if ledger.jobs:
        say(_jobs(ledger))
    if ledger.messages:
        say(_messages(ledger))


def _jobs(ledger: Ledger) -> Table:
    states = (
        "scheduled",
        "available",
        "running",
        "retrying",
        "completed",
        "cancelled",
        "dead",
        "replayed",
        "discarded",
    )
    counts = table("job type", "priority", *states, right=states)
    for one in ledger.jobs:
        row = (str(getattr(one, state)) for state in states)
        counts.add_row(escaped(one.job_type), PRIORITIES[one.priority], *row)
    return counts


def _messages(ledger: Ledger) -> Table:
    columns = ("pending", "done", "dead", "deliveries")
    counts = table("durable messages of", *columns, right=columns)
    for one in ledger.messages:
        counts.add_row(escaped(one.entity_type), *map(str, (one.pending, one.done, one.dead, one.deliveries)))
    return counts
