"""Ownership under two hundred schedules of faults: one owner at a time, and every shard served again when they end.

A failing seed is named in the test's id; `HOLDFAST_SEED=1234 pytest tests/simulation` runs that one alone, and
`HOLDFAST_SEEDS=1000` as many as asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from random import Random

import pytest

from holdfast.model.cluster import RunnerState
from holdfast.testing.loop import run

from .fleet import TTL_S, Fleet, Machine

BROKE = (214, 409, 525, 529, 606, 617, 1114)
"""Each of these has failed once: 409 and 617 by a lease that a step of the clock ended early, 214 by a shard that came
back before it was known to have gone, the others by the test itself."""


def seeds() -> list[int]:
    if one := os.environ.get("HOLDFAST_SEED"):
        return [int(one)]
    return sorted({*range(int(os.environ.get("HOLDFAST_SEEDS", "200"))), *BROKE})


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What befalls the store is logged by the engines, thousands of times."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


async def trouble(fleet: Fleet, random: Random) -> None:
    """One thing happens to one machine, or to the store."""
    machine = random.choice(fleet.machines)
    match random.choice(["crash", "freeze", "drain", "clock", "outage", "wish", "calm"]):
        case "crash":
            await machine.crash()
            await asyncio.sleep(random.uniform(0.0, 10.0))
            machine.start()
        case "freeze":
            await machine.freeze(random.uniform(0.5, 3 * TTL_S))
        case "drain":
            await machine.restart(patience_s=random.uniform(1.0, 20.0))
        case "clock":
            fleet.shared.jumped_us += round(random.uniform(-3.0, 60.0) * 1e6)
        case "outage":
            fleet.weather.store_away = True
            await asyncio.sleep(random.uniform(0.5, 2 * TTL_S))
            fleet.weather.store_away = False
        case "wish":
            await wish(fleet, machine, random)
        case _:
            await asyncio.sleep(random.uniform(0.0, 5.0))


async def wish(fleet: Fleet, machine: Machine, random: Random) -> None:
    if machine.member is not None:
        runner_id = machine.member.id
        await machine.member.store.membership.want(runner_id, random.choice(list(RunnerState)))
        await asyncio.sleep(random.uniform(0.0, 10.0))
        row = fleet.shared.runners.get(runner_id)
        if row is not None:
            fleet.shared.runners[runner_id] = row._replace(wanted=RunnerState.ACTIVE)


async def troubled(seed: int) -> None:
    random = Random(seed)
    fleet = Fleet(seed, machines=random.randint(2, 5), shards=random.choice([8, 24]))
    for machine in fleet.machines:
        machine.start()
    watching = asyncio.ensure_future(fleet.watch(3600.0))
    try:
        for _ in range(random.randint(2, 6)):
            await asyncio.sleep(random.uniform(0.0, 8.0))
            await trouble(fleet, random)
        fleet.weather.clear()
        await fleet.settle(within_s=4 * TTL_S)
        moves = fleet.shared.moves
        await asyncio.sleep(12.0)
        assert fleet.settled()
        assert fleet.shared.moves == moves, "shards move although nothing happens"
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        await fleet.stop()


async def one_crash(seed: int) -> float:
    """A crash and nothing else: how long until the others serve all of the dead runner's shards."""
    random = Random(seed)
    fleet = Fleet(seed, machines=random.randint(2, 6), shards=64)
    fleet.weather.clear()
    loop = asyncio.get_running_loop()
    for machine in fleet.machines:
        machine.start()
    try:
        await fleet.settle(within_s=30.0)
        moves = fleet.shared.moves
        await asyncio.sleep(random.uniform(0.0, TTL_S))
        dead = fleet.machines[0].member
        assert dead is not None
        lost = len(dead.ownership.owned)
        if random.random() < 0.5:
            await fleet.machines[0].crash()
        else:
            fleet.machines[0].thawed.clear()
        died_at = loop.time()
        others = [machine.member for machine in fleet.machines[1:] if machine.member is not None]
        while sum(len(member.serves()) for member in others) < 64:
            assert loop.time() < died_at + 60.0
            await asyncio.sleep(0.01)
        took_s = loop.time() - died_at
        assert fleet.shared.moves == moves + lost, "only the dead runner's shards move"
        if fleet.machines[0].frozen:
            fleet.machines[0].thawed.set()
            fleet.check()
        else:
            fleet.machines[0].start()
        await fleet.settle(within_s=30.0)
        return took_s
    finally:
        await fleet.stop()


@pytest.mark.parametrize("seed", seeds())
def test_whatever_happens_a_shard_has_one_owner_and_all_are_served_again(seed: int) -> None:
    run(troubled(seed), seed=seed)


@pytest.mark.parametrize("seed", seeds()[:50])
def test_a_dead_runner_is_replaced_within_the_lease_and_a_second(seed: int) -> None:
    assert run(one_crash(seed), seed=seed) < TTL_S + 1.0
