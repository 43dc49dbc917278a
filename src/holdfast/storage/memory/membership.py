"""Who runs on the tables, and who owns which shard."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from holdfast.errors import FencedOut
from holdfast.kit.clock import Clock
from holdfast.model.cluster import GroupRow, RunnerRow, RunnerState, ShardRow
from holdfast.ports.membership import Registration, Renewal
from holdfast.storage.rows import joined

from .journal import MemorySession
from .tables import Tables
from .writes import count_crashes, count_job_crashes, end_starts


class MemoryLeaseLine:
    """`LeaseLine` in memory. A renewal does not wait for an open transaction: the row is nobody else's."""

    def __init__(self, session: MemorySession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> Renewal | None:
        tables, now = self._session.tables, self._clock.now_us()
        row = tables.runners.rows.get(runner_id)
        if row is None:
            return None
        with tables.transaction():
            tables.runners.put(runner_id, row._replace(expires_at=now + lease_ttl_us, state=state))
        return Renewal(now, tuple(sorted(tables.runners.rows.values())))

    async def close(self) -> None: ...


class MemoryMembership:
    """`Membership` in memory."""

    def __init__(self, session: MemorySession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def register(self, registration: Registration) -> int:
        tables, now = self._session.tables, self._clock.now_us()
        async with self._session.turn:
            runner_id = tables.next_runner
            tables.next_runner += 1
            address, version, types, groups, weight, lease_ttl_us = registration
            lease = (RunnerState.ACTIVE, RunnerState.ACTIVE, now, now + lease_ttl_us)
            row = RunnerRow(runner_id, address, version, tuple(types), tuple(groups), weight, *lease)
            with tables.transaction():
                self._end_earlier(tables, now)
                tables.runners.insert(runner_id, row)
        self._session.incarnation = runner_id
        return runner_id

    def _end_earlier(self, tables: Tables, now_us: int) -> None:
        before = self._session.incarnation
        if tables.shared:
            if before in tables.runners.rows:
                end_starts(tables, before)
                _end(tables, before)
            return
        if tables.runners.rows:
            count_crashes(tables, now_us, None)
        count_job_crashes(tables, None)
        for earlier in list(tables.runners.rows):
            _end(tables, earlier)

    async def ensure_groups(self, wanted: Mapping[str, tuple[int, Collection[str]]]) -> Sequence[GroupRow]:
        tables = self._session.tables
        async with self._session.turn:
            with tables.transaction():
                for group in joined(tables.groups.rows.values(), ((name, *wanted[name]) for name in wanted)):
                    tables.groups.put(group.name, group)
                    for number in range(group.first, group.first + group.shards):
                        if number not in tables.shards.rows:
                            tables.shards.insert(number, ShardRow(group.name, number, 0, 0))
        return await self.groups()

    async def claim(self, runner_id: int, shards: Collection[int]) -> Sequence[ShardRow]:
        tables = self._session.tables
        async with self._session.turn:
            if runner_id not in tables.runners.rows:
                raise FencedOut(f"runner {runner_id} was reaped: another one has taken over")
            return _moved(tables, shards, 0, runner_id)

    async def hand_over(self, runner_id: int, shards: Collection[int], to: int) -> Sequence[ShardRow]:
        tables = self._session.tables
        async with self._session.turn:
            receiver = tables.runners.rows.get(to)
            if receiver is None or receiver.expires_at <= self._clock.now_us():
                return []
            return _moved(tables, shards, runner_id, to)

    async def reap(self, *, ended_by_us: int | None = None) -> Sequence[int]:
        tables, now = self._session.tables, self._clock.now_us()
        ended_by = now if ended_by_us is None else min(now, ended_by_us)
        reaped: list[int] = []
        async with self._session.turn:
            for row in sorted(tables.runners.rows.values(), key=lambda row: row.expires_at):
                if row.expires_at >= ended_by:
                    break
                owned = {shard.number for shard in tables.shards.rows.values() if shard.runner_id == row.runner_id}
                with tables.transaction():
                    count_crashes(tables, now, row.runner_id, owned)
                    count_job_crashes(tables, row.runner_id)
                    _end(tables, row.runner_id)
                reaped.append(row.runner_id)
        return reaped

    async def now_us(self) -> int:
        return self._clock.now_us()

    async def want(self, runner_id: int, state: str) -> bool:
        tables = self._session.tables
        async with self._session.turn:
            row = tables.runners.rows.get(runner_id)
            if row is None:
                return False
            with tables.transaction():
                tables.runners.put(runner_id, row._replace(wanted=state))
            return True

    async def leave(self, runner_id: int) -> None:
        tables = self._session.tables
        async with self._session.turn:
            with tables.transaction():
                end_starts(tables, runner_id)
                _end(tables, runner_id)

    async def runners(self) -> Sequence[RunnerRow]:
        return sorted(self._session.tables.runners.rows.values())

    async def shards(self) -> Sequence[ShardRow]:
        return sorted(self._session.tables.shards.rows.values(), key=lambda row: row.number)

    async def groups(self) -> Sequence[GroupRow]:
        return sorted(self._session.tables.groups.rows.values(), key=lambda row: row.first)


def _moved(tables: Tables, shards: Collection[int], owner: int, to: int) -> list[ShardRow]:
    moved: list[ShardRow] = []
    with tables.transaction():
        for number in sorted(set(shards)):
            row = tables.shards.rows.get(number)
            if row is not None and row.runner_id == owner:
                moved.append(row._replace(runner_id=to, epoch=row.epoch + 1))
                tables.shards.put(number, moved[-1])
    return moved


def _end(tables: Tables, runner_id: int) -> None:
    tables.runners.remove(runner_id)
    for number, row in list(tables.shards.rows.items()):
        if row.runner_id == runner_id:
            tables.shards.put(number, row._replace(runner_id=0))
