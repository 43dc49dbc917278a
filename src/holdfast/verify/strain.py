"""How much a run is strained by its own machine: whoever is late then has not been harmed by a fault, nor by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from .evidence import Harm
from .history import now
from .rig import Rig
from .stalls import LATE_LEASES, LOOK_EVERY_S


@asynccontextmanager
async def strain_noted(rig: Rig) -> AsyncGenerator[list[Harm]]:
    """The moments, while this is entered, when the machine could not keep up."""
    found: list[Harm] = []
    looking = asyncio.create_task(_look(rig, found))
    try:
        yield found
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


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
