"""Who runs on the database, and who owns which shard.

A lease ends on the database's clock, but only the reaper ends an incarnation: it deletes the runner's row, and with it
go the fence rows of its sessions (so nothing of it commits any more) and its ownership. Marking the row instead would
fence nothing. One incarnation per transaction, because the wait is in the deletion: a stuck session of one dead runner
must not hold up the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from holdfast.model.cluster import RunnerRow, RunnerState, ShardRow
from holdfast.ports.membership import Registration

from .connection import PostgresOptions
from .endings import Endings
from .journal import Incarnation
from .pool import Pool
from .sessions import fenced_out

_REAPED_MAX = 1000


class PostgresMembershipReader:
    """`MembershipReader` on one database."""

    def __init__(self, pool: Pool, sql: Mapping[str, str]) -> None:
        self._pool = pool
        self._sql = sql

    async def runners(self) -> Sequence[RunnerRow]:
        return [RunnerRow(*row) for row in await self._pool.fetch(self._sql["runners"])]

    async def shards(self) -> Sequence[ShardRow]:
        return [ShardRow(*row) for row in await self._pool.fetch(self._sql["shards"])]


class PostgresMembership(PostgresMembershipReader):
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
        super().__init__(pool, sql)
        self._endings = endings
        self._incarnation = incarnation
        self._options = options

    async def register(self, registration: Registration) -> int:
        """Makes a new incarnation, and ends the one that this store registered before, if any."""
        before = self._incarnation.runner_id
        if before is not None:
            await self._endings.leave(before)
        types = msgspec.json.encode(registration.types).decode()
        facts = (registration.address, registration.version, types, RunnerState.ACTIVE)
        async with self._pool.transaction() as connection:
            row = await connection.fetchrow(
                self._sql["runner_insert"], *facts, registration.lease_ttl_us, self._options.now_us()
            )
        assert row is not None
        self._incarnation.runner_id = int(row[0])
        return self._incarnation.runner_id

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> bool:
        rows = await self._pool.fetch(self._sql["runner_renew"], runner_id, lease_ttl_us, state, self._options.now_us())
        return bool(rows)

    async def claim(self, runner_id: int, *, group: str, shards: int) -> Sequence[ShardRow]:
        """Reaps who is dead, then takes what nobody owns. Raises FencedOut for an incarnation that was reaped."""
        await self.reap()
        async with self._pool.transaction() as connection:
            if not await connection.fetch(self._sql["runner_hold"], runner_id):
                raise fenced_out(runner_id)
            await connection.execute(self._sql["shard_group_insert"], group, shards)
            await connection.execute(self._sql["shards_insert"], group)
            await connection.execute(self._sql["shards_claim"], group, runner_id)
            rows = await connection.fetch(self._sql["shards_of"], group, runner_id)
        return [ShardRow(*row) for row in rows]

    async def leave(self, runner_id: int) -> None:
        await self._endings.leave(runner_id)

    async def reap(self) -> Sequence[int]:
        """Ends every incarnation whose lease has run out, one after another, and returns their ids."""
        reaped: list[int] = []
        while len(reaped) < _REAPED_MAX:
            dead = await self._endings.reap_one()
            if dead is None:
                break
            reaped.append(dead)
        return reaped
