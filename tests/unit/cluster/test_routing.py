"""Where a shard's owner is: known, asked for together, and never put back by a late word."""

from __future__ import annotations

import asyncio

from holdfast.cluster.routing import Routes
from holdfast.model.cluster import ShardRow
from holdfast.testing.loop import LoopClock, run
from tests.support.ownership import Member, until
from tests.support.shared_store import FakeStore, SharedStore


async def served() -> tuple[SharedStore, Member, Routes]:
    shared = SharedStore()
    member = await Member(shared).start()
    clock = LoopClock(asyncio.get_running_loop())
    return shared, member, Routes(reader=FakeStore(shared).membership, clock=clock)


def test_an_unknown_owner_is_asked_for() -> None:
    async def main() -> None:
        _, member, routes = await served()
        assert routes.owner(3) is None
        owner = await routes.find(3)
        assert owner is not None
        assert owner.runner_id == member.id
        await routes.close()
        await member.stop()

    run(main())


def test_those_who_ask_together_share_a_reading() -> None:
    async def main() -> None:
        shared, member, routes = await served()
        read = shared.readings
        await asyncio.gather(*(routes.refresh() for _ in range(50)))
        assert shared.readings == read + 1
        await routes.close()
        await member.stop()

    run(main())


def test_readings_are_apart() -> None:
    async def main() -> None:
        _, member, routes = await served()
        loop = asyncio.get_running_loop()
        await routes.refresh()
        began = loop.time()
        await routes.refresh()
        assert loop.time() - began >= 0.2
        await routes.close()
        await member.stop()

    run(main())


def test_a_late_word_changes_nothing() -> None:
    async def main() -> None:
        shared, member, routes = await served()
        await routes.refresh()
        shared.give([3], 99)
        routes.learn([shared.shards[3]])
        routes.learn([ShardRow("default", 3, member.id, 1)])
        assert routes.owner(3) is None
        await routes.close()
        await member.stop()

    run(main())


def test_a_runner_s_own_looks_keep_its_routes_fresh() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one, two = [await Member(shared, wire=wire).start() for _ in range(2)]
        await until(lambda: len(two.serves()) == 8)
        assert {owner.runner_id for n in range(16) if (owner := one.routes.owner(n))} == {one.id, two.id}
        await one.stop()
        await two.stop()

    run(main())
