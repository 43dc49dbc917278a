"""How shards that have come are taken up: together, and after a failure fewer at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from holdfast.cluster.holdings import Holdings
from holdfast.cluster.taking import Taking
from holdfast.errors import PersistenceError
from holdfast.kit.tasks import TaskOwner
from holdfast.metrics import MetricsService
from holdfast.testing.loop import LoopClock, run
from tests.support.ownership import BookKeeper, until

SHARDS = range(64)


class Stage:
    """The taking of one runner, whose tenant needs a second for each call."""

    def __init__(self) -> None:
        self.tenant = BookKeeper()
        self.tenant.takes_s = 1.0
        self.holdings = Holdings()
        self.tasks = TaskOwner("taking")
        self.taking = Taking(
            tenant=self.tenant,
            holdings=self.holdings,
            clock=LoopClock(asyncio.get_running_loop()),
            metrics=MetricsService(),
            tasks=self.tasks,
            on_served=lambda: None,
        )

    @property
    def sizes(self) -> list[int]:
        return [len(shards) for _, shards in self.tenant.told]

    async def served(self, count: int) -> float:
        return await until(lambda: len(self.holdings.served) == count)


def test_what_arrives_while_shards_are_taken_up_comes_together_after_them() -> None:
    """The second to come does not wait for the first, nor do the others for each other."""

    async def main() -> None:
        stage = Stage()
        for shard in SHARDS:
            stage.taking.begin([shard])
        assert round(await stage.served(2), 1) == 1.0
        assert round(await stage.served(64), 1) == 1.0
        assert stage.sizes == [1, 1, 62]
        await stage.tasks.stop()

    run(main())


def test_shards_whose_store_was_away_come_together_again() -> None:
    async def main() -> None:
        stage = Stage()
        before, tries = stage.tenant.before, 0

        async def fail_once(what: str, shards: Collection[int]) -> None:
            nonlocal tries
            await before(what, shards)
            tries += 1
            if tries == 1:
                raise PersistenceError("the store is away")

        stage.tenant.before = fail_once  # type: ignore[method-assign]
        stage.taking.begin(SHARDS)
        await stage.served(64)
        assert stage.sizes == [64]
        await stage.tasks.stop()

    run(main())


def test_one_that_can_not_be_taken_up_keeps_the_others_no_longer_than_it_takes_to_find_it() -> None:
    async def main() -> None:
        stage = Stage()
        before, tried = stage.tenant.before, list[int]()

        async def fail(what: str, shards: Collection[int]) -> None:
            await before(what, shards)
            tried.append(len(shards))
            if 5 in shards:
                raise PersistenceError("a row of shard 5 can't be read")

        stage.tenant.before = fail  # type: ignore[method-assign]
        stage.taking.begin(SHARDS)
        await stage.served(63)
        assert tried[:2] == [64, 64] and sorted(stage.sizes) == [1] * 3 + [4] * 3 + [16] * 3
        stage.taking.begin([100])
        await stage.served(64)
        so_far = len(tried)
        await asyncio.sleep(30)
        assert len(tried) > so_far and set(tried[so_far:]) == {1}  # it is tried on, and alone
        await stage.tasks.stop()

    run(main())
