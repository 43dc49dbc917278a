"""Shards passed to and fro under load by engines that share one store, with and without deaths, in many schedules."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Any, cast

import pytest

from holdfast import App, Settings, testing
from holdfast.settings import EntitySettings

from .bank import Heard, bank, deposits, payments, reconcile, touches
from .crowd import Crowd
from .test_bank import ACCOUNTS, Weather, seeds


async def scenario(seed: int, *, kills: bool) -> int:
    random = Random(seed)
    weather, heard = Weather(random), Heard()
    app = App("bank", modules=[bank], settings=Settings(entities=EntitySettings(retry_max=4.0, page_rows=20)))
    crowd = Crowd(app, seed, weather.faults)
    await crowd.start(random.choice([2, 3]))

    async def opening(_: Any) -> Any:
        return crowd

    async with app.opened(cast(Any, opening)):
        work = [deposits(app, heard, f"d{n}", random.choice(ACCOUNTS), 8, random) for n in range(4)]
        work += [payments(app, heard, f"p{n}", ACCOUNTS, 5, random) for n in range(3)]
        work += [touches(app, heard, f"t{n}", random.choice(ACCOUNTS), 6, random) for n in range(2)]
        done = asyncio.Event()
        moving = asyncio.ensure_future(_move(crowd, random, done, kills=kills))
        try:
            async with asyncio.TaskGroup() as group:
                for each in work:
                    group.create_task(each)
        finally:
            done.set()
            await moving
        weather.calm = True
        await _at_rest(crowd)
        await reconcile(app, heard, ACCOUNTS)
        await crowd.move_some()
        await reconcile(app, heard, ACCOUNTS)
    assert not crowd.trespasses
    return crowd.moves


async def _move(crowd: Crowd, random: Random, done: asyncio.Event, *, kills: bool) -> None:
    while not done.is_set():
        await asyncio.sleep(random.expovariate(20))
        await (crowd.kill_one() if kills and random.random() < 0.15 else crowd.move_some())


async def _at_rest(crowd: Crowd) -> None:
    """Nothing is stored that has to be handled, and nobody is at it."""
    for _ in range(3000):
        await asyncio.sleep(0.1)
        busy = [one for one in crowd.members if one.engine.under_way() or one.group.busy]
        if not (busy or crowd.tables.messages.rows or crowd.tables.inbox.rows):
            return
    raise AssertionError(f"left behind: {crowd.tables.messages.rows} {crowd.tables.inbox.rows}")


ONCE_FAILED = [
    118,  # ids of the new owner were lower than those of the one before, so stored messages came in another order
    264,  # a message that ran in vain went in front of those that had run, in vain too, before it
]


@pytest.mark.parametrize("seed", [*seeds(), *ONCE_FAILED])
def test_entities_that_move_under_load_lose_and_double_nothing(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    testing.run(scenario(seed, kills=False), seed=seed)


@pytest.mark.parametrize("seed", seeds())
def test_the_death_of_an_owner_changes_nothing_of_that(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    testing.run(scenario(seed, kills=True), seed=seed)


def test_shards_do_move_in_these_runs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    assert testing.run(scenario(1, kills=False), seed=1) > 10
