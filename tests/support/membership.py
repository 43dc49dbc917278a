"""Keeping a lease and taking shards by hand, as tests do it."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.model.cluster import ShardRow
from holdfast.ports.membership import Renewal
from holdfast.ports.store import RunnerStore

LEASE_US = 600_000_000
"""By the clock of a test. A third of it is what a renewal may take by that of the machine, which may have no time."""


async def renew(
    store: RunnerStore, runner_id: int, *, lease_ttl_us: int = LEASE_US, state: str = "active"
) -> Renewal | None:
    """One renewal on a line of its own."""
    line = await store.lease_line()
    try:
        return await line.renew(runner_id, lease_ttl_us=lease_ttl_us, state=state)
    finally:
        await line.close()


async def claim_all(
    store: RunnerStore, runner_id: int, *, shards: int = 4, group: str = "default"
) -> Sequence[ShardRow]:
    """Reaps who is dead, and claims every shard of a group, made with so many; returns those that were taken."""
    groups = await store.membership.ensure_groups({group: (shards, ())})
    (numbers,) = [range(row.first, row.first + row.shards) for row in groups if row.name == group]
    await store.membership.reap()
    return await store.membership.claim(runner_id, numbers)
