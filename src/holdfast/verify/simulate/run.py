"""One seed: from its plan to what it violated."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from holdfast.runtime.app import App
from holdfast.storage.memory.tables import Tables
from holdfast.testing.borrowed import virtual_time
from holdfast.testing.cluster import LiveCluster
from holdfast.testing.loop import LeftOver, LoopClock, Stalled, run
from holdfast.testing.runner import NotSettled
from holdfast.transport.memory import MemoryNetwork

from .answers import NoAnswer, answered
from .audit import Audit
from .checks import Finals, violations
from .crowd import Crowd, Heard
from .plan import ACCOUNTS, BASINS, Plan
from .town import Account, Basin, Log, Roll, Witness, make_app, watched_by
from .trace import Trace
from .world import CALM, FIRST, Sky, StormyPlace, World

REST_ROUNDS = 60
REST_S = 2.0
SETTLE_S = 120.0
LETTERS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run violated, if anything, in words; and what tells it from other runs."""

    violations: Sequence[str]
    digest: str
    events: int
    virtual_s: float
    trace: Sequence[str]

    @property
    def ok(self) -> bool:
        return not self.violations


def simulate(plan: Plan, *, broken: AbstractContextManager[Any] | None = None) -> Outcome:
    """Runs the plan in virtual time. `broken`: what is switched off meanwhile, to see whether it is noticed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what befalls the runners is logged by them, at length
    try:
        with broken or nullcontext():
            return run(_simulated(plan), seed=plan.seed)
    except (LeftOver, Stalled) as error:
        return Outcome([f"does not end: {error}"], "", 0, 0.0, [])
    finally:
        logging.disable(before)


async def _simulated(plan: Plan) -> Outcome:
    loop = asyncio.get_running_loop()
    trace = Trace(loop.time)
    app = make_app(shards=plan.shards)
    witness, heard = Witness(app), Heard()
    watched_by(witness)
    clock, tables = LoopClock(loop), Tables(shared=True)
    network = MemoryNetwork(
        settings=app.settings.transport, randomness=random.Random(plan.seed), delay_s=CALM.network_s
    )
    audit = Audit(tables, trace.note)
    sky = Sky(CALM)
    place = StormyPlace(app=app, tables=tables, network=network, clock=clock, sky=sky, audit=audit, seed=plan.seed)
    found: list[str] = []
    with virtual_time(loop) as time:
        live = LiveCluster(place, time=time, seed=plan.seed)
        world = World(live, place, trace, inside=plan.inside)
        inside = partial(live.inside, FIRST) if plan.inside else None
        crowd = Crowd(app, heard, starts=lambda: len(witness.started), told=trace.note, inside=inside)
        try:
            await world.begin(plan.runners)
            world.get_worse(plan.weather)
            finals = await _lived(plan, world, crowd, app, heard, witness)
            found += violations(heard, witness, finals, audit, orderly=plan.orderly)
            found += await world.miscounted(gauges=plan.gauges)
        except* (NotSettled, NoAnswer) as group:
            found += [f"accepted is not processed: {error}" for error in _leaves(group)]
        finally:
            await world.end()
    found += audit.found
    trace.note(f"found {found}")
    return Outcome(found, trace.digest, trace.count, loop.time(), trace.lines)


async def _lived(plan: Plan, world: World, crowd: Crowd, app: App, heard: Heard, witness: Witness) -> Finals:
    """Work and faults at the same time; then peace; then what was dead is cured and replayed."""
    async with asyncio.TaskGroup() as group:
        group.create_task(crowd.act(plan.steps))
        group.create_task(world.suffer(plan.faults))
    await _rest(world)
    letters = [letter.message_id for letter in await answered(partial(app.cluster.dead_letters, limit=LETTERS_MAX))]
    dead_jobs = [letter.id for letter in await answered(partial(app.jobs.dead_letters, limit=LETTERS_MAX))]
    witness.cured = True
    for letter in letters:
        await answered(partial(app.cluster.replay, letter))
    replayed = {int(job): int((await answered(partial(app.jobs.replay, job))).id) for job in dead_jobs}
    await _rest(world)
    return Finals(
        books={name: await answered(app.ref(Account, name).show) for name in ACCOUNTS},
        tubs={name: (await answered(app.ref(Basin, name).show)).drops for name in BASINS},
        rolls={
            name: (await answered(app.ref(Roll, name).show)).lines
            for name in sorted({roll for roll, _ in heard.bursts})
        },
        entries=(await answered(app.ref(Log, "log").show)).entries,
        tables=world.place.tables,
        letters=letters,
        replayed=replayed,
        dead_left=len(await answered(app.cluster.dead_letters)) + len(await answered(app.jobs.dead_letters)),
    )


async def _rest(world: World) -> None:
    """Returns when the store holds nothing that is still to be done. Raises NotSettled."""
    tables = world.place.tables
    for _ in range(REST_ROUNDS):
        await world.live.settle(timeout=SETTLE_S)
        if not (tables.messages.rows or tables.jobs.rows or tables.inbox.rows):
            return
        await world.live.clock.advance(REST_S)
    left = [f"{len(table.rows)} {name}" for name, table in _unfinished(tables).items() if table.rows]
    raise NotSettled(f"{REST_ROUNDS * REST_S:g} s after the last fault there are still {', '.join(left)}")


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    parts = cast("Sequence[BaseException]", error.exceptions)  # pyright: ignore[reportUnknownMemberType]
    return [leaf for part in parts for leaf in _leaves(part)]


def _unfinished(tables: Tables) -> dict[str, Any]:
    return {"messages": tables.messages, "jobs": tables.jobs, "in the inbox": tables.inbox}
