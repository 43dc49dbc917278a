"""`holdfast status`: who runs, who owns what, and what the store counts; read from the store, as a client would."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import StoreUnavailable
from holdfast.kit.clock import SystemClock
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.ids import SECOND_US
from holdfast.model.job import PRIORITIES
from holdfast.model.ledger import Ledger
from holdfast.runtime.config import direct_store, store_is_pooled
from holdfast.storage import migrations
from holdfast.storage.open import open_client_store
from holdfast.storage.urls import masked

from .database import store_named
from .exits import Exit

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """One look; `now_us` is this machine's clock, microseconds since the epoch."""

    store: str
    now_us: int
    runners: list[RunnerRow]
    shards: list[ShardRow]
    ledger: Ledger

    def alive(self, runner: RunnerRow) -> bool:
        """Whether its lease has not passed; a runner that was killed stays registered until the next one starts."""
        return runner.expires_at > self.now_us

    @property
    def owned(self) -> Counter[int]:
        """Shards by runner; 0 is nobody."""
        return Counter(shard.runner_id for shard in self.shards)


def show_status(store: str | None, *, as_json: bool) -> Exit:
    """Raises StoreUnavailable for a store that is not there, and SchemaMismatch."""
    found = asyncio.run(look(store_named(store), direct_url=direct_store() if store is None else None))
    if as_json:
        print(json.dumps(as_document(found)))
    else:
        _print(found)
    return Exit.OK


async def look(url: str, *, direct_url: str | None = None) -> StoreStatus:
    """Reads; makes nothing, not even the file."""
    if not (await migrations.status(direct_url or url)).applied:
        raise StoreUnavailable(f"{masked(url)} holds no store yet; `holdfast run` or `holdfast db migrate` makes one")
    store = await open_client_store(url, direct_url=direct_url, pooled=store_is_pooled())
    try:
        return StoreStatus(
            store=masked(url),
            now_us=SystemClock().now_us(),
            runners=list(await store.membership.runners()),
            shards=list(await store.membership.shards()),
            ledger=await store.ledger.ledger(),
        )
    finally:
        await store.close()


def as_document(found: StoreStatus) -> dict[str, object]:
    """For `--json`. Moments are seconds since the epoch."""
    ledger = found.ledger
    return {
        "store": found.store,
        "runners": [_runner(found, runner) for runner in found.runners],
        "shards": {"count": len(found.shards), "unowned": found.owned[0]},
        "entities_stored": ledger.entities_stored,
        "inbox": ledger.inbox,
        "jobs": [
            {**one._asdict(), "priority": PRIORITIES[one.priority], "live": one.live, "dlq_size": one.dlq_size}
            for one in ledger.jobs
        ],
        "messages": [one._asdict() for one in ledger.messages],
    }


def _runner(found: StoreStatus, runner: RunnerRow) -> dict[str, object]:
    return {
        "id": runner.runner_id,
        "state": runner.state,
        "lease_valid": found.alive(runner),
        "address": runner.address,
        "version": runner.version,
        "entity_types": list(runner.types),
        "shards": found.owned[runner.runner_id],
        "started_at": runner.started_at / SECOND_US,
        "expires_at": runner.expires_at / SECOND_US,
    }


def _print(found: StoreStatus) -> None:
    from .consoles import console

    say = console().print
    ledger = found.ledger
    say(found.store)
    say(
        f"{len(found.shards)} shards ({found.owned[0]} without owner), {ledger.entities_stored} entities with a state, "
        f"{ledger.inbox} in the inbox"
    )
    if not found.runners:
        say("no runner")
    for runner in found.runners:
        left_s = (runner.expires_at - found.now_us) / SECOND_US
        lease = f"lease for {left_s:.1f} s" if found.alive(runner) else f"lease over since {-left_s:.0f} s"
        owned = found.owned[runner.runner_id]
        say(f"runner {runner.runner_id}: {runner.state}, {lease}, {owned} shards, version {runner.version}")
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
    table = _table("job type", "priority", *states)
    for one in ledger.jobs:
        table.add_row(one.job_type, PRIORITIES[one.priority], *(str(getattr(one, state)) for state in states))
    return table


def _messages(ledger: Ledger) -> Table:
    table = _table("durable messages of", "pending", "done", "dead", "deliveries")
    for one in ledger.messages:
        table.add_row(one.entity_type, *map(str, (one.pending, one.done, one.dead, one.deliveries)))
    return table


def _table(first: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="left" if column == "priority" else "right")
    return table
