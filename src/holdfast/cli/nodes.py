"""`holdfast node` and `holdfast shard`: who runs, who owns what, and what an operator wants of a runner."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

from holdfast.admin import nodes
from holdfast.admin.nodes import Cluster, Drained
from holdfast.errors import ConfigurationError, RunnerUnavailable
from holdfast.model.cluster import RunnerRow, RunnerState, ShardRow
from holdfast.model.ids import SECOND_US
from holdfast.runtime.config import advertised, host_and_port
from holdfast.runtime.opening import tcp_address

from .consoles import console, table
from .exits import Exit
from .plain import escaped
from .stores import check_page, opened

Verb = Literal["drain", "cordon", "uncordon"]

WANTED = {"drain": RunnerState.DRAINING, "cordon": RunnerState.CORDONED, "uncordon": RunnerState.ACTIVE}
SAID = {
    "drain": "is asked to give its shards away",
    "cordon": "is asked to take no more shards",
    "uncordon": "is asked to take shards again",
}
WAIT_MAX_S = 86_400.0


def show_nodes(store: str | None, *, as_json: bool) -> Exit:
    """Raises StoreUnavailable for a store that is not there, and SchemaMismatch."""
    cluster = asyncio.run(_look(store))
    if as_json:
        print(json.dumps({"runners": [runner_document(cluster, row) for row in cluster.runners]}))
    else:
        print_nodes(cluster)
    return Exit.OK


def ask_node(store: str | None, verb: Verb, runner: int | None, *, address: str | None, as_json: bool) -> Exit:
    """Raises RunnerUnavailable where there is no such runner, ConfigurationError where none is named."""
    row = asyncio.run(_ask(store, verb, runner, address))
    if as_json:
        print(json.dumps({"runner": row.runner_id, "wanted": row.wanted}))
    else:
        print(f"runner {row.runner_id} {SAID[verb]}")
    return Exit.OK


def drain_node(store: str | None, runner: int | None, *, address: str | None, timeout_s: float, as_json: bool) -> Exit:
    """Asks, and waits; FAILED where shards are left. Raises as `ask_node`."""
    if not 0.0 <= timeout_s <= WAIT_MAX_S:
        raise ConfigurationError(f"--timeout is between 0 and {WAIT_MAX_S:g} seconds, not {timeout_s:g}")
    row, found = asyncio.run(_drain(store, runner, address, timeout_s))
    if as_json:
        outcome = {"done": found.done, "gone": found.gone, "shards": found.left}
        print(json.dumps({"runner": row.runner_id, "wanted": row.wanted, **outcome}))
    else:
        print(f"runner {row.runner_id} {_outcome(found, timeout_s)}")
    return Exit.OK if found.done else Exit.FAILED


def show_shards(store: str | None, *, limit: int, after: int, as_json: bool) -> Exit:
    """By ascending number above `after`."""
    check_page(limit, after)
    cluster = asyncio.run(_look(store))
    shown = [shard for shard in cluster.shards if shard.number > after][:limit]
    if as_json:
        print(json.dumps({"shards": [_shard_document(shard) for shard in shown]}))
        return Exit.OK
    listed = table("shard", "group", "owner", "epoch", right=("shard", "owner", "epoch"))
    for shard in shown:
        listed.add_row(str(shard.number), escaped(shard.group), _owner(shard.runner_id), str(shard.epoch))
    console().print(listed if shown else "no shards")
    return Exit.OK


def show_map(store: str | None, *, as_json: bool) -> Exit:
    """A line for each runner and group."""
    cluster = asyncio.run(_look(store))
    ranges = cluster.ranges()
    if as_json:
        shown = [{"runner": owner or None, "group": group, "shards": text} for (owner, group), text in ranges.items()]
        print(json.dumps({"map": shown}))
        return Exit.OK
    listed = table("runner", "address", "group", "shards", right=("runner",))
    for (owner, group), text in ranges.items():
        row = cluster.runner(owner)
        listed.add_row(_owner(owner), escaped(row.address) if row else "", escaped(group), text)
    console().print(listed if ranges else "no shards")
    return Exit.OK


def print_nodes(cluster: Cluster) -> None:
    """Runners as text."""
    if not cluster.runners:
        print("no runner")
        return
    listed = table(
        "runner", "address", "state", "lease", "shards", "weight", "version", right=("runner", "shards", "weight")
    )
    for row in cluster.runners:
        owned, weight = str(cluster.owned[row.runner_id]), f"{row.weight:g}"
        where, version = escaped(row.address), escaped(row.version)
        listed.add_row(str(row.runner_id), where, _state(row), _lease(cluster, row), owned, weight, version)
    console().print(listed)


def runner_document(cluster: Cluster, row: RunnerRow) -> dict[str, object]:
    """For `--json`. Moments are seconds since the epoch."""
    return {
        "id": row.runner_id,
        "state": row.state,
        "wanted": row.wanted,
        "lease_valid": cluster.valid(row),
        "lease_left_s": round(cluster.lease_left_s(row), 3),
        "address": row.address,
        "version": row.version,
        "weight": row.weight,
        "groups": list(row.groups),
        "entity_types": list(row.types),
        "shards": cluster.owned[row.runner_id],
        "started_at": row.started_at / SECOND_US,
        "expires_at": row.expires_at / SECOND_US,
    }


async def _look(store: str | None) -> Cluster:
    async with opened(store) as found:
        return await nodes.look(found.membership)


async def _ask(store: str | None, verb: Verb, runner: int | None, address: str | None) -> RunnerRow:
    async with opened(store) as found:
        row = _named(await nodes.look(found.membership), runner, address)
        await nodes.ask(found.membership, row.runner_id, WANTED[verb])
        return row._replace(wanted=WANTED[verb])


async def _drain(
    store: str | None, runner: int | None, address: str | None, timeout_s: float
) -> tuple[RunnerRow, Drained]:
    row = await _ask(store, "drain", runner, address)
    async with opened(store) as found:
        return row, await nodes.until_drained(found.membership, row.runner_id, timeout_s=timeout_s)


def _named(cluster: Cluster, runner: int | None, address: str | None) -> RunnerRow:
    if runner is not None:
        if address is not None:
            raise ConfigurationError("name the runner by its id or by --address, not by both")
        if (row := cluster.runner(runner)) is None:
            raise RunnerUnavailable(f"no runner {runner} is registered")
        return row
    place = advertised() if address is None else host_and_port(address)
    if place is None:
        raise ConfigurationError("which runner? Give its id or --address HOST:PORT, or set HOLDFAST_ADVERTISE")
    where = tcp_address(place)
    if (row := cluster.at(where)) is None:
        raise RunnerUnavailable(f"no runner with the address {where} is registered; `holdfast node list` has them all")
    return row


def _outcome(found: Drained, timeout_s: float) -> str:
    if found.gone:
        return "is gone"
    if not found.left:
        return "owns no shards any more"
    if found.alone:
        return f"has nobody to give its {found.left} shards to, and serves them on"
    return f"still owns {found.left} shards after {timeout_s:g} s"


def _state(row: RunnerRow) -> str:
    """What it says of itself, and what it is to be where it has not heard of it yet."""
    asked = row.wanted not in (row.state, RunnerState.ACTIVE)
    return escaped(f"{row.state}, to be {row.wanted}" if asked else row.state)


def _lease(cluster: Cluster, row: RunnerRow) -> str:
    left_s = cluster.lease_left_s(row)
    return f"{left_s:.1f} s left" if left_s > 0 else f"over for {-left_s:.0f} s"


def _owner(runner_id: int) -> str:
    return str(runner_id) if runner_id else "nobody"


def _shard_document(shard: ShardRow) -> dict[str, object]:
    return {
        "number": shard.number,
        "group": shard.group,
        "runner": shard.runner_id or None,
        "epoch": shard.epoch,
    }
