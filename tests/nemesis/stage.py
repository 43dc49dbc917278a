"""Where one thing is done at exactly one moment: two runners, a sender of the test's own, and a gate in the store."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from holdfast.entities.entity import Entity
from holdfast.verify.desk import Desk, attempt
from holdfast.verify.fleet import RunnerProcess
from holdfast.verify.history import Event, Recorder, events
from holdfast.verify.rig import Rig
from holdfast.verify.subject import make_app

from .gate import GATED, Gate

LEASE_TTL_S = 6.0
"""Long enough for a machine that does a lot beside: a lease that has to end is ended in the store."""
PATIENCE_S = 60.0
LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything a scenario needs."""

    rig: Rig
    desk: Desk
    gate: Gate
    patience_s: float
    """Seconds for which a wrong answer is waited for: long where it is sure to come."""
    names: Iterator[int]

    def entity(self) -> str:
        """A fresh one's id, which the gate knows."""
        return f"{GATED}-{next(self.names)}"

    async def entity_of(self, runner: RunnerProcess, entity: type[Entity[object]]) -> str:
        """A fresh one that lives there."""
        while await self.owner(entity, found := self.entity()) is not runner:
            pass
        return found

    async def settled(self) -> None:
        """Every runner serves, and owns its share."""
        await self.rig.heal()
        count = len(self.rig.runners)

        async def shared() -> bool:
            owned = await self.rig.audit.owned()
            return len(owned) == count and 0 not in owned and max(owned.values()) - min(owned.values()) <= 1

        await until(shared)

    async def reached(self, ask: Callable[[], Awaitable[object]]) -> None:
        """The way to an entity is known: what is sent next arrives at once."""

        async def answers() -> bool:
            return (await attempt(ask))[0] == "ok"

        await until(answers)

    async def owner(self, entity: type[Entity[object]], entity_id: str) -> RunnerProcess:
        found: list[RunnerProcess] = []

        async def known() -> bool:
            owner = await self.rig.audit.owner_of(entity.__name__, entity_id)
            newest = await self.rig.audit.runners()
            found[:] = [runner for runner in self.rig.runners if newest.get(runner.address) == owner]
            return bool(found)

        await until(known)
        return found[0]

    @asynccontextmanager
    async def replaced(self, runner: RunnerProcess) -> AsyncGenerator[None, None]:
        """What happens inside makes it silent; its lease is over then, and afterwards all its shards are others'."""
        incarnation = (await self.rig.audit.runners()).get(runner.address, 0)
        yield
        await self.rig.audit.execute(f"UPDATE holdfast_runner SET expires_at = 0 WHERE runner_id = {incarnation}")

        async def gone() -> bool:
            owned = await self.rig.audit.owned()
            return incarnation not in owned and 0 not in owned

        await until(gone)

    @asynccontextmanager
    async def others_frozen(self, runner: RunnerProcess) -> AsyncGenerator[None, None]:
        others = [other for other in self.rig.runners if other is not runner]
        for other in others:
            other.freeze()
        yield
        for other in others:
            other.thaw()

    async def at_the_gate(self, *, but: frozenset[int] = frozenset()) -> frozenset[int]:
        """The sessions that wait there, once there are others than those."""
        found: frozenset[int] = frozenset()

        async def waits() -> bool:
            nonlocal found
            found = await self.gate.waiting()
            return bool(found - but)

        await until(waits)
        return found

    async def run_of(self, operation: str) -> Event:
        """A run of this job that has begun."""
        found: list[Event] = []

        async def begun() -> bool:
            seen = events(self.rig.folder / "events")
            found[:] = [event for event in seen if event.workload == "run" and event.operation == operation]
            return bool(found)

        await until(begun)
        return found[0]

    async def perhaps(self, answer: Awaitable[object]) -> None:
        """Waits for what only a broken runner does by now."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(answer), self.patience_s)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - the store does not tell
            await asyncio.sleep(LOOK_AGAIN_S)


@asynccontextmanager
async def stage_on(rig: Rig, *, patience_s: float) -> AsyncGenerator[Stage, None]:
    recorder = Recorder(rig.folder / "events" / "stage.events")
    gate, app = Gate(rig.audit, rig.store), make_app(lease_ttl_s=rig.plan.lease_ttl_s)
    await gate.build()
    try:
        async with app.client(store=rig.store):
            desk = Desk(
                app=app,
                name="stage",
                rng=random.Random(rig.plan.seed),
                recorder=recorder,
                stopping=asyncio.Event(),
                pause_s=0.0,
                numbers=itertools.count(1),
                rest_s=PATIENCE_S,
            )
            yield Stage(rig=rig, desk=desk, gate=gate, patience_s=patience_s, names=itertools.count(1))
    finally:
        recorder.close()
