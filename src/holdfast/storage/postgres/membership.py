"""Who runs on the database, and who owns which shard.

A lease ends on the database's clock, but only the reaper ends an incarnation: it deletes the runner's row, and with it
go the fence rows of its sessions (so nothing of it commits any more) and its ownership. Marking the row instead would
fence nothing. One incarnation per transaction, because the wait is in the deletion: a stuck session of one dead runner
must not hold up the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from holdfast.model.cluster import GroupRow, RunnerRow, RunnerState, ShardRow
from holdfast.ports.membership import Registration
from holdfast.storage.rows import group_row, joined, packed_names, runner_row, shard_rows

from .connection import PostgresOptions
from .endings import Endings
from .journal import Incarnation
from .pool import Pool
from .sessions import fenced_out

_REAPED_MAX = 1000


class PostgresMembershipDesk:
    """`MembershipDesk` on one database."""

    def __init__(self, pool: Pool, sql: Mapping[str, str], options: PostgresOptions) -> None:
        self._pool = pool
        self._sql = sql
        self._options = options

    async def runners(self) -> Sequence[RunnerRow]:
        return [runner_row(row) for row in await self._pool.fetch(self._sql["runners"])]

    async def shards(self) -> Sequence[ShardRow]:
        return [ShardRow(*row) for row in await self._pool.fetch(self._sql["shards"])]

    async def groups(self) -> Sequence[GroupRow]:
        return [group_row(row) for row in await self._pool.fetch(self._sql["groups"])]

    async def now_us(self) -> int:
        ((now_us,),) = await self._pool.fetch(self._sql["now"], self._options.now_us())
        return int(now_us)

    async def want(self, runner_id: int, state: str) -> bool:
        return bool(await self._pool.fetch(self._sql["runner_want"], runner_id, state))


class PostgresMembership(PostgresMembershipDesk):
    """`Membership` on one database, beside any number of other runners."""

    def __init__(
        self,
        pool: Pool,
        sql: Mapping[str, str],
        *,
        endings: Endings,
        incarnation: Incarnation,
        options: PostgresOptions,
    ) -> None:
        super().__init__(pool, sql, options)
        self._endings = endings
        self._incarnation = incarnation

    async def register(self, registration: Registration) -> int:
        """Makes a new incarnation, and ends the one that this store registered before, if any."""
        before = self._incarnation.runner_id
        if before is not None:
            await self._endings.leave(before)
        address, version, types, groups, weight, lease_ttl_us = registration
        said = (address, version, packed_names(types), packed_names(groups), weight)
        async with self._pool.transaction() as connection:
            row = await connection.fetchrow(
                self._sql["runner_insert"], *said, RunnerState.ACTIVE, lease_ttl_us, self._options.now_us()
            )
        assert row is not None
        self._incarnation.runner_id = int(row[0])
        return self._incarnation.runner_id

    async def ensure_groups(self, wanted: Mapping[str, tuple[int, Collection[str]]]) -> Sequence[GroupRow]:
        asked = [(name, *wanted[name]) for name in wanted]
        known = await self.groups()
        if joined(known, asked) == known:
            return known
        async with self._pool.transaction() as connection:
            await connection.execute(self._sql["groups_lock"])
            groups = joined(map(group_row, await connection.fetch(self._sql["groups"])), asked)
            for row in groups:
                await connection.execute(self._sql["shard_group_put"], *row[:-1], packed_names(row.types))
                await connection.execute(self._sql["shards_insert"], row.name)
        return groups

    async def claim(self, runner_id: int, shards: Collection[int]) -> Sequence[ShardRow]:
        async with self._pool.transaction() as connection:
            if not await connection.fetch(self._sql["runner_hold"], runner_id):
                raise fenced_out(runner_id)
            return shard_rows(await connection.fetch(self._sql["shards_claim"], runner_id, shards))

    async def hand_over(self, runner_id: int, shards: Collection[int], to: int) -> Sequence[ShardRow]:
        async with self._pool.transaction() as connection:
            args = (runner_id, shards, to, self._options.now_us())
            return shard_rows(await connection.fetch(self._sql["shards_hand_over"], *args))

    async def leave(self, runner_id: int) -> None:
        await self._endings.leave(runner_id)

    async def reap(self, *, ended_by_us: int | None = None) -> Sequence[int]:
        reaped: list[int] = []
        while len(reaped) < _REAPED_MAX:
            dead = await self._endings.reap_one(ended_by_us)
            if dead is None:
                break
            reaped.append(dead)
        return reaped
