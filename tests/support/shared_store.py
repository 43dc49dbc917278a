"""A store that many runners share, of runners and shards alone, whose every call can be late, fail or lose its answer.

It has the rules of `ports.membership` and nothing else. The store's clock is the loop's time plus `jumped_us`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from holdfast.errors import FencedOut, PersistenceError
from holdfast.model.cluster import GroupRow, RunnerRow, RunnerState, ShardRow
from holdfast.ports.membership import LeaseLine, Registration, Renewal

R = TypeVar("R")

EPOCH_US = 1_700_000_000_000_000


async def _at_once() -> None:
    """Nothing befalls the call."""


class SharedStore:
    """The tables and their clock."""

    def __init__(self, *, shards: int = 16, groups: Sequence[GroupRow] | None = None) -> None:
        self.groups = list(groups or [GroupRow("default", 0, shards, ("Cart",))])
        self.runners: dict[int, RunnerRow] = {}
        self.shards = {
            number: ShardRow(group.name, number, 0, 0)
            for group in self.groups
            for number in range(group.first, group.first + group.shards)
        }
        self.registered = 0
        self.jumped_us = 0
        self.moves = 0
        self.readings = 0

    def now_us(self) -> int:
        return EPOCH_US + self.jumped_us + round(asyncio.get_running_loop().time() * 1e6)

    def owned_by(self, runner_id: int) -> set[int]:
        return {row.number for row in self.shards.values() if row.runner_id == runner_id}

    def end(self, runner_id: int) -> None:
        del self.runners[runner_id]
        for number in self.owned_by(runner_id):
            self.shards[number] = self.shards[number]._replace(runner_id=0)

    def give(self, numbers: Collection[int], to: int) -> list[ShardRow]:
        for number in numbers:
            row = self.shards[number]
            self.shards[number] = row._replace(runner_id=to, epoch=row.epoch + 1)
            self.moves += 1
        return [self.shards[number] for number in sorted(numbers)]


class Calls:
    """One runner's way to the store. `before` and `after` are awaited around each call and may raise or take long."""

    def __init__(self) -> None:
        self.before: Callable[[str], Awaitable[None]] = lambda _: _at_once()
        self.after: Callable[[str], Awaitable[None]] = lambda _: _at_once()

    async def make(self, name: str, call: Callable[[], R]) -> R:
        await self.before(name)
        result = call()
        await self.after(name)
        return result


class FakeMembership:
    """`Membership`, and the `LeaseLine` too."""

    def __init__(self, shared: SharedStore, calls: Calls) -> None:
        self._shared = shared
        self._calls = calls

    async def register(self, registration: Registration) -> int:
        return await self._calls.make("register", lambda: self._register(registration))

    def _register(self, said: Registration) -> int:
        self._shared.registered += 1
        runner_id, now = self._shared.registered, self._shared.now_us()
        active = RunnerState.ACTIVE
        row = RunnerRow(
            runner_id,
            said.address,
            said.version,
            said.types,
            said.groups,
            said.weight,
            active,
            active,
            now,
            now + said.lease_ttl_us,
        )
        self._shared.runners[runner_id] = row
        return runner_id

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> Renewal | None:
        return await self._calls.make("renew", lambda: self._renew(runner_id, lease_ttl_us, state))

    def _renew(self, runner_id: int, lease_ttl_us: int, state: str) -> Renewal | None:
        row, now = self._shared.runners.get(runner_id), self._shared.now_us()
        if row is None:
            return None
        self._shared.runners[runner_id] = row._replace(state=state, expires_at=now + lease_ttl_us)
        return Renewal(now, tuple(sorted(self._shared.runners.values())))

    async def ensure_groups(self, wanted: Mapping[str, tuple[int, Collection[str]]]) -> Sequence[GroupRow]:
        raise NotImplementedError

    async def claim(self, runner_id: int, shards: Collection[int]) -> Sequence[ShardRow]:
        return await self._calls.make("claim", lambda: self._claim(runner_id, shards))

    def _claim(self, runner_id: int, shards: Collection[int]) -> Sequence[ShardRow]:
        if runner_id not in self._shared.runners:
            raise FencedOut(f"runner {runner_id} was reaped")
        return self._shared.give([number for number in shards if not self._shared.shards[number].runner_id], runner_id)

    async def hand_over(self, runner_id: int, shards: Collection[int], to: int) -> Sequence[ShardRow]:
        return await self._calls.make("hand_over", lambda: self._hand_over(runner_id, shards, to))

    def _hand_over(self, giver: int, shards: Collection[int], to: int) -> Sequence[ShardRow]:
        receiver = self._shared.runners.get(to)
        if receiver is None or receiver.expires_at <= self._shared.now_us():
            return ()
        return self._shared.give([n for n in shards if self._shared.shards[n].runner_id == giver], to)

    async def reap(self, *, ended_by_us: int | None = None) -> Sequence[int]:
        return await self._calls.make("reap", lambda: self._reap(ended_by_us))

    def _reap(self, ended_by_us: int | None) -> Sequence[int]:
        now = self._shared.now_us()
        now = now if ended_by_us is None else min(now, ended_by_us)
        dead = [runner_id for runner_id, row in self._shared.runners.items() if row.expires_at <= now]
        for runner_id in dead:
            self._shared.end(runner_id)
        return dead

    async def now_us(self) -> int:
        return self._shared.now_us()

    async def want(self, runner_id: int, state: str) -> bool:
        row = self._shared.runners.get(runner_id)
        if row is not None:
            self._shared.runners[runner_id] = row._replace(wanted=state)
        return row is not None

    async def leave(self, runner_id: int) -> None:
        def leave() -> None:
            if runner_id in self._shared.runners:
                self._shared.end(runner_id)

        await self._calls.make("leave", leave)

    async def runners(self) -> Sequence[RunnerRow]:
        return await self._calls.make("runners", lambda: sorted(self._shared.runners.values()))

    async def shards(self) -> Sequence[ShardRow]:
        self._shared.readings += 1
        return await self._calls.make("shards", lambda: list(self._shared.shards.values()))

    async def groups(self) -> Sequence[GroupRow]:
        return await self._calls.make("groups", lambda: list(self._shared.groups))

    async def close(self) -> None:
        """The line: nothing to close."""


class FakeStore:
    """What `Lease` needs of one runner's store; `lease_calls` befall the lease's line alone."""

    def __init__(self, shared: SharedStore, *, lease_on_thread: bool = False) -> None:
        self.calls, self.lease_calls = Calls(), Calls()
        self.membership = FakeMembership(shared, self.calls)
        self.alone = False
        self.lease_on_thread = lease_on_thread
        self._line = FakeMembership(shared, self.lease_calls)
        self.lines = 0

    async def lease_line(self) -> LeaseLine:
        self.lines += 1
        return self._line


def refuse(error: PersistenceError) -> Callable[[str], Awaitable[None]]:
    """For `before` and `after`: every call raises this."""

    async def raising(_: str) -> None:
        raise error

    return raising
