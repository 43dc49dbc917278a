"""How much a run is strained by its own machine: whoever is late then has not been harmed by a fault, nor by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from .evidence import Harm
from .history import now
from .proc import Processors, processors
from .rig import Rig
from .stalls import LATE_LEASES, LOOK_EVERY_S


@dataclass(slots=True)
class Strain:
    """What the machine was asked for."""

    moments: list[Harm] = field(default_factory=list[Harm])
    """When it could not keep up."""
    busy: float | None = None
    """The share of the processors' time that was used, 0 to 1; None where the system does not say."""


@asynccontextmanager
async def strain_noted(rig: Rig) -> AsyncGenerator[Strain]:
    """Complete once this is left."""
    found, before = Strain(), processors()
    looking = asyncio.create_task(_look(rig, found.moments))
    try:
        yield found
    finally:
        found.busy = _share(before, processors())
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def _share(before: Processors | None, after: Processors | None) -> float | None:
    if before is None or after is None or after.there_s <= before.there_s:
        return None
    return (after.worked_s - before.worked_s) / (after.there_s - before.there_s)


async def _look(rig: Rig, found: list[Harm]) -> None:
    """With a connection of its own, past all relays."""
    lease_s = rig.plan.lease_ttl_s
    audit = rig.audit.another()
    try:
        while True:
            began = now()
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(Exception):  # the store is away, in one of many ways
                async with asyncio.timeout(lease_s):
                    await audit.rows("SELECT 1")
            if now() - began > LOOK_EVERY_S + LATE_LEASES * lease_s:
                found.append(Harm("store", began - lease_s, now() + lease_s))
    finally:
        await audit.close()
