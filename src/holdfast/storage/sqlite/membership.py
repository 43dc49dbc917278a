"""Who runs on the file, and which shards it owns: one runner at a time, so that claiming is simple."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from holdfast.errors import FencedOut
from holdfast.model.cluster import RunnerRow, RunnerState, ShardRow
from holdfast.ports.membership import Registration

from .reads import Reader
from .session import WriteSession

Run = Callable[..., list[Any]]


class SqliteMembershipReader:
    """`MembershipReader` on one file."""

    def __init__(self, reader: Reader) -> None:
        self._read = reader.rows

    async def runners(self) -> Sequence[RunnerRow]:
        return [RunnerRow(*row) for row in self._read("runners")]

    async def shards(self) -> Sequence[ShardRow]:
        return [ShardRow(*row) for row in self._read("shards")]


class SqliteMembership(SqliteMembershipReader):
    """`Membership` on one file, for the process that holds its runner lock."""

    def __init__(self, session: WriteSession, reader: Reader) -> None:
        super().__init__(reader)
        self._session = session

    async def register(self, registration: Registration) -> int:
        now = self._session.clock.now_us()

        def register(run: Run) -> int:
            ((runner_id,),) = run("runner_id_take")
            if run("runners_reap", (runner_id,)):
                run("messages_crashed", {"now": now})
            types = msgspec.json.encode(registration.types).decode()
            lease_end = now + registration.lease_ttl_us
            facts = (runner_id, registration.address, registration.version, types, RunnerState.ACTIVE, now, lease_end)
            run("runner_insert", facts)
            return int(runner_id)

        runner_id = await self._session.write(register)
        self._session.incarnation = runner_id
        return runner_id

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> bool:
        lease_end = self._session.clock.now_us() + lease_ttl_us

        def renew(run: Run) -> bool:
            run("runner_renew", (lease_end, state, runner_id))
            return bool(run("fence", (runner_id,)))

        return await self._session.write(renew)

    async def claim(self, runner_id: int, *, group: str, shards: int) -> Sequence[ShardRow]:
        def claim(run: Run) -> list[ShardRow]:
            if not run("fence", (runner_id,)):
                raise FencedOut(f"runner {runner_id} was reaped: another one has taken over")
            run("shard_group_insert", (group, shards))
            ((count,),) = run("shard_count", (group,))
            run("shards_insert", {"group": group, "shards": count})
            run("shards_claim", {"group": group, "runner_id": runner_id})
            return [ShardRow(*row) for row in run("shards_of", (group, runner_id))]

        return await self._session.write(claim)

    async def leave(self, runner_id: int) -> None:
        def leave(run: Run) -> None:
            run("runner_leave", (runner_id,))
            run("shards_leave", (runner_id,))

        await self._session.write(leave)
