"""Runners of one store agree on the time, whatever their own clocks show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast import App, testing
from holdfast.cluster.clock import HeardClock
from holdfast.testing.loop import LoopClock

DAY_S = 86_400.0

app = App("shop")
ran: list[str] = []


@app.job
async def ring(name: str) -> None:
    ran.append(name)


@pytest.fixture
async def t() -> AsyncIterator[testing.LiveCluster]:
    ran.clear()
    async with testing.cluster(app, runners=2) as live:
        yield live


@pytest.mark.parametrize("wrong_s", [DAY_S, -DAY_S])
async def test_what_is_due_keeps_its_time_on_a_runner_whose_clock_is_wrong(
    t: testing.LiveCluster, wrong_s: float
) -> None:
    for runner in t.runners:
        t.set_clock(runner, wrong_s)
    await t.clock.advance(5)  # a renewal tells what time it is
    for name in "abcdefgh":
        await ring.opts(delay=30).submit(name)
    await t.clock.advance(29)
    await t.settle()
    assert ran == []
    await t.clock.advance(2)
    await t.settle()
    assert sorted(ran) == list("abcdefgh")


async def test_what_is_due_keeps_its_time_when_it_moves_to_a_runner_whose_clock_is_wrong(
    t: testing.LiveCluster,
) -> None:
    t.set_clock(1, DAY_S)
    t.set_clock(2, -DAY_S)
    for name in "abcdefgh":
        await ring.opts(delay=60).submit(name)
    await t.crash(1)
    await t.settle()
    assert ran == []
    await t.clock.advance(62)
    await t.settle()
    assert sorted(ran) == list("abcdefgh")


async def test_a_client_that_has_heard_the_store_goes_by_its_clock() -> None:
    own = LoopClock(asyncio.get_running_loop())
    own.ahead_us = 86_400_000_000

    class Desk:
        async def now_us(self) -> int:
            return 1_000_000

    clock = HeardClock(own)
    assert clock.now_us() > 60_000_000, "nobody has said yet what time it is"
    await clock.hear(Desk())  # type: ignore[arg-type]
    assert 1_000_000 <= clock.now_us() < 60_000_000
