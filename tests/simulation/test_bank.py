"""Entities on a store that fails, is slow and loses its answers, under a hundred schedules.

A failing seed is named in the test's id; `HOLDFAST_SEED=1234 pytest tests/simulation` runs that one alone, and
`HOLDFAST_SEEDS=1000` as many as asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from random import Random

import pytest

from holdfast import App, Settings, testing
from holdfast.errors import PersistenceError
from holdfast.model.unit import Unit
from holdfast.settings import EntitySettings

from .bank import Heard, bank, deposits, payments, reconcile, touches

ACCOUNTS = ["a", "b", "c"]


def seeds() -> list[int]:
    if one := os.environ.get("HOLDFAST_SEED"):
        return [int(one)]
    return list(range(int(os.environ.get("HOLDFAST_SEEDS", "100"))))


class Weather:
    """What befalls the store: commits that fail, that take their time, and whose answer is lost."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.calm = False
        self.failing, self.losing = random.choice([0.0, 0.05, 0.2]), random.choice([0.0, 0.0, 0.05])
        slow = random.choice([False, True])
        self.faults = testing.StorageFaults(
            before_commit=self._before, after_commit=self._after, latency_s=self._latency if slow else None
        )

    def _before(self, units: Sequence[Unit]) -> None:
        if not self.calm and self.random.random() < self.failing:
            raise PersistenceError("the disk refuses")

    def _after(self, units: Sequence[Unit]) -> None:
        if not self.calm and self.random.random() < self.losing:
            raise PersistenceError("the answer is lost", executed="unknown")

    def _latency(self) -> float:
        return 0.0 if self.calm else self.random.expovariate(200)


async def scenario(seed: int) -> None:
    random = Random(seed)
    weather, heard = Weather(random), Heard()
    app = App("bank", modules=[bank], settings=Settings(entities=EntitySettings(retry_max=4.0)))
    async with testing.runner(app, seed=seed, faults=weather.faults) as t:
        work = [deposits(app, heard, f"d{n}", random.choice(ACCOUNTS), 8, random) for n in range(4)]
        work += [payments(app, heard, f"p{n}", ACCOUNTS, 5, random) for n in range(3)]
        work += [touches(app, heard, f"t{n}", random.choice(ACCOUNTS), 6, random) for n in range(2)]
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
            if random.random() < 0.3:
                await asyncio.sleep(random.uniform(0, 1))
        weather.calm = True
        await t.clock.advance(5)  # beyond the longest pause between two tries
        await t.settle()
        await reconcile(app, heard, ACCOUNTS)
        await t.restart()
        await reconcile(app, heard, ACCOUNTS)


@pytest.mark.parametrize("seed", seeds())
def test_the_books_balance(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing acknowledged is lost, nothing is done twice or half, and order holds."""
    caplog.set_level(logging.CRITICAL)
    testing.run(scenario(seed), seed=seed)


def test_a_seed_finds_the_same_run_again() -> None:
    """What one run printed as failing can be looked into."""

    async def trace() -> list[tuple[int, int]]:
        random = Random(5)
        weather, heard = Weather(random), Heard()
        weather.failing = 0.2
        app = App("bank", modules=[bank])
        seen: list[tuple[int, int]] = []
        async with testing.runner(app, seed=5, faults=weather.faults) as t:
            before = weather.faults.before_commit

            def noted(units: Sequence[Unit]) -> None:
                seen.append((t.clock.now_us(), len(units)))
                before(units)

            weather.faults.before_commit = noted
            await asyncio.gather(*(deposits(app, heard, f"d{n}", "a", 8, random) for n in range(3)))
        return seen

    assert testing.run(trace(), seed=5) == testing.run(trace(), seed=5)
