"""The faults, each by name: what it takes hold of while it lasts, what it does, and why a machine may not be able to.

A fault begins, waits, and heals what it broke. Two of them never take hold of the same thing at the same time.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, assert_never

from .disk import FULL_DISK, no_disk_to_fill
from .fleet import RunnerProcess
from .network import DROP_PACKETS, LINK_DOWN, RESET_CONNECTIONS, Cable, Chain, no_network
from .relay import Direction
from .rig import Rig
from .wallclock import DAY_S, library

DEAF: tuple[tuple[Direction, ...], ...] = (("in",), ("out",), ("in", "out"))
Run = Callable[[Rig, int, random.Random], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`target` is the part of one that it takes hold of while it lasts."""

    name: str
    target: str
    run: Run
    of: Literal["runner", "every runner", "client", "store"] = "runner"
    weight: int = 2
    needs: Callable[[], str | None] = lambda: None
    """What the machine lacks, and how to get it."""

    def targets(self, rig: Rig) -> int:
        """How many there are to choose from."""
        match self.of:
            case "runner" | "every runner":
                return len(rig.runners)
            case "client":
                return len(rig.clients)
            case "store":
                return 1
            case _:
                assert_never(self.of)

    def holds(self, rig: Rig, number: int) -> frozenset[tuple[str, int]]:
        """What nobody else may take hold of meanwhile."""
        numbers = range(len(rig.runners)) if self.of == "every runner" else (number,)
        return frozenset((self.target, one) for one in numbers)

    def victim(self, number: int) -> str:
        """Its name in reports."""
        return self.of if self.of in ("store", "every runner") else f"{self.of}-{number}"

    def why_not(self, rig: Rig) -> str | None:
        """Why it can't be had here."""
        if self.of == "store" and rig.postgres is None:
            return "the store was given with --store and is not the rig's to harm"
        return self.needs()


async def kill(rig: Rig, number: int, rng: random.Random) -> None:
    runner = rig.runners[number]
    await runner.kill()
    await asyncio.sleep(rng.uniform(0, rig.plan.lease_ttl_s * 1.5))
    await runner.start()


async def freeze(rig: Rig, number: int, rng: random.Random) -> None:
    """Longer than its lease: it wakes up as one who was replaced."""
    await _frozen(rig.runners[number], rig.plan.lease_ttl_s * rng.uniform(1.3, 2.0))


async def freeze_briefly(rig: Rig, number: int, rng: random.Random) -> None:
    """Its lease is still its own when it wakes up."""
    await _frozen(rig.runners[number], rig.plan.lease_ttl_s * rng.uniform(0.1, 0.7))


async def freeze_in_transaction(rig: Rig, number: int, rng: random.Random) -> None:
    """With a transaction of a user open, and rows locked."""
    runner = rig.runners[number]
    with suppress(TimeoutError):  # no job came its way: frozen all the same
        await asyncio.wait_for(runner.hold(), rig.plan.lease_ttl_s)
    await _frozen(runner, rig.plan.lease_ttl_s * rng.uniform(1.3, 2.0))


async def _frozen(runner: RunnerProcess, seconds: float) -> None:
    runner.freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        runner.thaw()


async def block_loop(rig: Rig, number: int, rng: random.Random) -> None:
    """A handler that does not let go of the event loop; the lease is kept meanwhile."""
    seconds = rig.plan.lease_ttl_s * rng.uniform(0.5, 1.5)
    rig.runners[number].block(seconds)
    await asyncio.sleep(seconds)


async def drain(rig: Rig, number: int, rng: random.Random) -> None:
    """SIGTERM, and another one in its place: one step of a rolling restart."""
    runner = rig.runners[number]
    await runner.drain()
    await asyncio.sleep(rng.uniform(0, 1.0))
    await runner.start()


async def step_clock(rig: Rig, number: int, rng: random.Random) -> None:
    """A day off, while it runs; and back."""
    clock = rig.runners[number].clock
    clock.step(rng.choice((-DAY_S, DAY_S, -3600, 5)))
    try:
        await asyncio.sleep(rig.plan.lease_ttl_s * rng.uniform(0.5, 1.5))
    finally:
        clock.step(0)


def no_clock_to_step() -> str | None:
    return None if library() else "stepping a clock needs libfaketime: apt-get install libfaketime"


async def kill_store(rig: Rig, number: int, rng: random.Random) -> None:
    assert rig.postgres is not None
    rig.postgres.kill()
    await rig.postgres.ended()
    await asyncio.sleep(rng.uniform(0, 1.0))
    await rig.postgres.start()


async def freeze_store(rig: Rig, number: int, rng: random.Random) -> None:
    assert rig.postgres is not None
    rig.postgres.freeze()
    try:
        await asyncio.sleep(rng.uniform(0.3, rig.plan.lease_ttl_s * 0.8))
    finally:
        rig.postgres.thaw()


async def cut_store_link(rig: Rig, number: int, rng: random.Random) -> None:
    """Several times in a row, in the middle of whatever was being said."""
    for _ in range(rng.randrange(1, 6)):
        rig.runners[number].links.store.cut()
        await asyncio.sleep(rng.uniform(0.02, 0.5))


async def slow_store_link(rig: Rig, number: int, rng: random.Random) -> None:
    relay = rig.runners[number].links.store
    relay.latency_s = rng.uniform(0.02, 0.2)
    try:
        await asyncio.sleep(rng.uniform(0.5, 2.5))
    finally:
        relay.latency_s = 0.0


async def lose_store_link(rig: Rig, number: int, rng: random.Random) -> None:
    """For longer than the lease, in one direction or both; then what was lost arrives after all."""
    relay = rig.runners[number].links.store
    relay.deafen(*rng.choice(DEAF))
    try:
        await asyncio.sleep(rig.plan.lease_ttl_s * rng.uniform(0.3, 1.8))
    finally:
        relay.hear()


async def cut_peer_link(rig: Rig, number: int, rng: random.Random) -> None:
    for _ in range(rng.randrange(1, 6)):
        rig.runners[number].links.peers.cut()
        await asyncio.sleep(rng.uniform(0.02, 0.5))


async def slow_peer_link(rig: Rig, number: int, rng: random.Random) -> None:
    relay = rig.runners[number].links.peers
    relay.latency_s = rng.uniform(0.02, 0.2)
    try:
        await asyncio.sleep(rng.uniform(0.5, 2.5))
    finally:
        relay.latency_s = 0.0


async def lose_peer_link(rig: Rig, number: int, rng: random.Random) -> None:
    """Nobody hears the runner, or it hears nobody, while its lease is kept."""
    relay = rig.runners[number].links.peers
    relay.deafen(*rng.choice(DEAF))
    try:
        await asyncio.sleep(rig.plan.lease_ttl_s * rng.uniform(0.3, 1.2))
    finally:
        relay.hear()


async def pull_cable(rig: Rig, number: int, rng: random.Random) -> None:
    """The runner's link is down: the store and everybody else are gone for it, and it for them."""
    await _disturbed(rig, number, rig.plan.lease_ttl_s * rng.uniform(0.2, 1.8), Cable.pull)


async def drop_packets(rig: Rig, number: int, rng: random.Random) -> None:
    """In one direction: it hears and is not heard, or is heard and does not hear."""
    chain: Chain = rng.choice(("in", "out"))
    await _disturbed(rig, number, rig.plan.lease_ttl_s * rng.uniform(0.2, 1.8), lambda cable: cable.drop(chain))


async def reset_connections(rig: Rig, number: int, rng: random.Random) -> None:
    """All that say something, for a moment."""
    chain: Chain = rng.choice(("in", "out"))
    await _disturbed(rig, number, rng.uniform(0.05, 0.5), lambda cable: cable.reset(chain))


async def _disturbed(rig: Rig, number: int, seconds: float, disturb: Callable[[Cable], None]) -> None:
    cable = rig.runners[number].links.cable
    assert cable is not None
    await asyncio.to_thread(disturb, cable)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(cable.plug_in)


async def starve(rig: Rig, number: int, rng: random.Random) -> None:
    """Whatever asks for memory may fail; then it is ended, as is done with those that need more than they are given."""
    runner = rig.runners[number]
    seconds = rig.plan.lease_ttl_s * rng.uniform(0.3, 1.0)
    runner.starve(seconds)
    await asyncio.sleep(seconds)
    await runner.kill()
    await runner.start()


def no_memory_to_limit() -> str | None:
    return None if sys.platform == "linux" else "limiting a running process's memory needs Linux"


async def fill_disk(rig: Rig, number: int, rng: random.Random) -> None:
    """The store's. It may give up over that; it is there again once there is room."""
    assert rig.postgres is not None and rig.postgres.disk is not None
    await asyncio.to_thread(rig.postgres.disk.fill)
    try:
        await asyncio.sleep(rng.uniform(0.3, rig.plan.lease_ttl_s))
    finally:
        await asyncio.to_thread(rig.postgres.disk.clear)
    await rig.postgres.serves()


async def rolling_restart(rig: Rig, number: int, rng: random.Random) -> None:
    """Every runner is replaced, one after the other."""
    for index in range(len(rig.runners)):
        await drain(rig, (number + index) % len(rig.runners), rng)


async def kill_client(rig: Rig, number: int, rng: random.Random) -> None:
    client = rig.clients[number]
    await client.kill()
    await client.start()


FAULTS: tuple[Fault, ...] = (
    Fault(name="kill", target="process", run=kill, weight=4),
    Fault(name="freeze", target="process", run=freeze, weight=3),
    Fault(name="freeze briefly", target="process", run=freeze_briefly, weight=3),
    Fault(name="freeze in transaction", target="process", run=freeze_in_transaction, weight=3),
    Fault(name="block loop", target="process", run=block_loop),
    Fault(name="memory limit", target="process", run=starve, needs=no_memory_to_limit),
    Fault(name="drain", target="process", run=drain, weight=4),
    Fault(name="rolling restart", target="process", run=rolling_restart, of="every runner", weight=1),
    Fault(name="step clock", target="clock", run=step_clock, needs=no_clock_to_step),
    Fault(name="kill store", target="store", run=kill_store, of="store"),
    Fault(name="freeze store", target="store", run=freeze_store, of="store", weight=1),
    Fault(name=FULL_DISK, target="store", run=fill_disk, of="store", weight=1, needs=no_disk_to_fill),
    Fault(name="cut store link", target="store link", run=cut_store_link, weight=4),
    Fault(name="slow store link", target="store link", run=slow_store_link),
    Fault(name="lose store link", target="store link", run=lose_store_link),
    Fault(name="cut peer link", target="peer link", run=cut_peer_link, weight=4),
    Fault(name="slow peer link", target="peer link", run=slow_peer_link),
    Fault(name="lose peer link", target="peer link", run=lose_peer_link),
    Fault(name=LINK_DOWN, target="cable", run=pull_cable, needs=no_network, weight=3),
    Fault(name=DROP_PACKETS, target="cable", run=drop_packets, needs=no_network),
    Fault(name=RESET_CONNECTIONS, target="cable", run=reset_connections, needs=no_network, weight=4),
    Fault(name="kill client", target="client", run=kill_client, of="client", weight=1),
)
DRAINS = ("drain", "rolling restart")
"""Those that harm nobody."""
