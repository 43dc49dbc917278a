"""Who runs on the file, and which shards it owns: one runner at a time, so that there is nobody to take turns with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from holdfast.errors import FencedOut
from holdfast.kit.clock import Clock
from holdfast.model.cluster import GroupRow, RunnerRow, RunnerState, ShardRow
from holdfast.model.job import CRASHED
from holdfast.ports.membership import Registration, Renewal
from holdfast.storage.rows import group_row, joined, packed_names, runner_row, shard_rows

from .outside import OutsideWriter
from .reads import Reader, listed
from .session import WriteSession

Run = Callable[..., list[Any]]


class SqliteMembershipReader:
    """`MembershipReader` on one file."""

    def __init__(self, reader: Reader) -> None:
        self._read = reader.rows

    async def runners(self) -> Sequence[RunnerRow]:
        return [runner_row(row) for row in self._read("runners")]

    async def shards(self) -> Sequence[ShardRow]:
        return [ShardRow(*row) for row in self._read("shards")]

    async def groups(self) -> Sequence[GroupRow]:
        return [group_row(row) for row in self._read("groups")]


class SqliteMembershipDesk(SqliteMembershipReader):
    """`MembershipDesk` on one file, for everybody but its runner."""

    def __init__(self, reader: Reader, outside: OutsideWriter, clock: Clock) -> None:
        super().__init__(reader)
        self._clock = clock
        self._outside = outside

    async def now_us(self) -> int:
        return self._clock.now_us()

    async def want(self, runner_id: int, state: str) -> bool:
        return await self._outside.want(runner_id, state)


class SqliteLeaseLine:
    """`LeaseLine` on one file: the lease says only that its runner lives, since the file's lock is what excludes."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> Renewal | None:
        now = self._session.clock.now_us()

        def renew(run: Run) -> Renewal | None:
            if not run("runner_renew", (now + lease_ttl_us, state, runner_id)):
                return None
            return Renewal(now, tuple(runner_row(row) for row in run("runners")))

        return await self._session.write(renew)

    async def close(self) -> None: ...


class SqliteMembership(SqliteMembershipReader):
    """`Membership` on one file, for the process that holds its runner lock."""

    def __init__(self, session: WriteSession, reader: Reader, *, claimed: Callable[[], None]) -> None:
        """`claimed` is called when shards have become the runner's."""
        super().__init__(reader)
        self._session = session
        self._claimed = claimed

    async def register(self, registration: Registration) -> int:
        now = self._session.clock.now_us()
        address, version, types, groups, weight, lease_ttl_us = registration
        said = (address, version, packed_names(types), packed_names(groups), weight)

        def register(run: Run) -> int:
            ((runner_id,),) = run("runner_id_take")
            reaped = run("runners_reap", (runner_id,))
            if reaped:
                run("messages_crashed", {"now": now})
            for (earlier,) in reaped:
                run("shards_leave", (earlier,))
            run("jobs_crashed", {"error": CRASHED})
            run("starts_clear")
            lease = (RunnerState.ACTIVE, RunnerState.ACTIVE, now, now + lease_ttl_us)
            run("runner_insert", (runner_id, *said, *lease))
            return int(runner_id)

        runner_id = await self._session.write(register)
        self._session.incarnation = runner_id
        return runner_id

    async def ensure_groups(self, wanted: Mapping[str, tuple[int, Collection[str]]]) -> Sequence[GroupRow]:
        def ensure(run: Run) -> list[GroupRow]:
            groups = joined(map(group_row, run("groups")), ((name, *wanted[name]) for name in wanted))
            for row in groups:
                run("shard_group_put", (*row[:-1], packed_names(row.types)))
                run("shards_insert", (row.name,))
            return groups

        return await self._session.write(ensure)

    async def claim(self, runner_id: int, shards: Collection[int]) -> Sequence[ShardRow]:
        def claim(run: Run) -> Sequence[ShardRow]:
            if not run("fence", (runner_id,)):
                raise FencedOut(f"runner {runner_id} was reaped: another one has taken over")
            return shard_rows(run("shards_claim", {"runner_id": runner_id, "shards": listed(shards)}))

        rows = await self._session.write(claim)
        self._claimed()
        return rows

    async def hand_over(self, runner_id: int, shards: Collection[int], to: int) -> Sequence[ShardRow]:
        facts = {"runner_id": runner_id, "shards": listed(shards), "receiver": to, "now": self._session.clock.now_us()}
        return shard_rows(await self._session.write(lambda run: run("shards_hand_over", facts)))

    async def reap(self, *, ended_by_us: int | None = None) -> Sequence[int]:
        """Nobody: whoever registers has ended all the others."""
        return []

    async def now_us(self) -> int:
        return self._session.clock.now_us()

    async def want(self, runner_id: int, state: str) -> bool:
        return bool(await self._session.write(lambda run: run("runner_want", (runner_id, state))))

    async def leave(self, runner_id: int) -> None:
        def leave(run: Run) -> None:
            run("runner_leave", (runner_id,))
            run("shards_leave", (runner_id,))
            run("starts_leave", (runner_id,))

        await self._session.write(leave)
