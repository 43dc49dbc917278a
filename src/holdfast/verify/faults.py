"""The faults, each by name: what it takes hold of while it lasts, what it does, and why a machine may not be able to.

A fault begins, waits, and heals what it broke. Two of them never take hold of the same thing at the same time. Each
looks whether it took effect, since one that does not proves nothing.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, assert_never

from .disk import FULL_DISK, no_disk_to_fill
from .fleet import RunnerProcess
from .history import now
from .network import DROP_PACKETS, LINK_DOWN, RESET_CONNECTIONS, Cable, Chain, no_network
from .relay import Direction, Relay
from .rig import Rig
from .wallclock import DAY_S, STEP_CLOCK, library

DEAF: tuple[tuple[Direction, ...], ...] = (("in",), ("out",), ("in", "out"))
CHAINS: tuple[Chain, ...] = ("in", "out")
SEEN_AFTER_S = 1.5
"""For so long a process may still go by what its clock was before."""
CLOCKS_AGREE_S = 20.0
Run = Callable[[Rig, int, random.Random], Awaitable[None]]


class NoEffect(Exception):
    """Other faults were in its way: it is not counted."""


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
    seconds = rig.plan.lease_ttl_s * rng.uniform(1.3, 2.0)
    try:
        session = await runner.hold(within_s=2 * rig.plan.lease_ttl_s)
    except TimeoutError:
        raise NoEffect("no job came to open a transaction") from None

    async def open_there() -> None:
        if not await rig.audit.waits_in_transaction(session):
            raise NoEffect("the store has no open transaction of it")

    await _frozen(runner, seconds, open_there)


async def _frozen(
    runner: RunnerProcess, seconds: float, look: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
) -> None:
    over_at = now() + seconds
    runner.freeze()
    try:
        async with asyncio.timeout(seconds):
            await look()
        await asyncio.sleep(over_at - now())
        if not runner.frozen:
            raise RuntimeError("it was not frozen")
    except TimeoutError:
        raise NoEffect("the store did not answer") from None
    finally:
        runner.thaw()


async def block_loop(rig: Rig, number: int, rng: random.Random) -> None:
    """A handler that does not let go of the event loop; the lease is kept meanwhile."""
    seconds = rig.plan.lease_ttl_s * rng.uniform(0.5, 1.5)
    blocked = await rig.runners[number].block(seconds)
    if blocked < 0.9 * seconds:
        raise RuntimeError(f"it was blocked for {blocked:.3f} s, not {seconds:.3f} s")


async def drain(rig: Rig, number: int, rng: random.Random) -> None:
    """SIGTERM, and another one in its place: one step of a rolling restart."""
    runner = rig.runners[number]
    await runner.drain()
    await asyncio.sleep(rng.uniform(0, 1.0))
    await runner.start()


async def step_clock(rig: Rig, number: int, rng: random.Random) -> None:
    """A day off, while it runs; and back."""
    runner, offset = rig.runners[number], rng.choice((-DAY_S, DAY_S, -3600, 60))
    seconds = SEEN_AFTER_S + rig.plan.lease_ttl_s * rng.uniform(0.5, 1.5)
    runner.clock.step(offset)
    try:
        await asyncio.sleep(seconds)
        said = await runner.wall_clock(within_s=seconds)
        if abs(said - time.time() - offset) > CLOCKS_AGREE_S:
            raise RuntimeError(f"its clock was to be off by {offset} s and is off by {said - time.time():.0f} s")
    except TimeoutError:
        raise NoEffect("it was not there to say what time it is") from None
    finally:
        runner.clock.step(0)


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
        if not rig.postgres.frozen:
            raise RuntimeError("it was not frozen")
    finally:
        rig.postgres.thaw()


async def cut_store_link(rig: Rig, number: int, rng: random.Random) -> None:
    await _cut(rig.runners[number].links.store, rng)


async def slow_store_link(rig: Rig, number: int, rng: random.Random) -> None:
    await _slow(rig.runners[number].links.store, rng)


async def lose_store_link(rig: Rig, number: int, rng: random.Random) -> None:
    """For longer than the lease, in one direction or both; then what was lost arrives after all."""
    await _lose(rig.runners[number].links.store, rng, rig.plan.lease_ttl_s * rng.uniform(0.3, 1.8))


async def cut_peer_link(rig: Rig, number: int, rng: random.Random) -> None:
    await _cut(rig.runners[number].links.peers, rng)


async def slow_peer_link(rig: Rig, number: int, rng: random.Random) -> None:
    await _slow(rig.runners[number].links.peers, rng)


async def lose_peer_link(rig: Rig, number: int, rng: random.Random) -> None:
    """Nobody hears the runner, or it hears nobody, while its lease is kept."""
    await _lose(rig.runners[number].links.peers, rng, rig.plan.lease_ttl_s * rng.uniform(0.3, 1.2))


async def _cut(relay: Relay, rng: random.Random) -> None:
    """Several times in a row, in the middle of whatever was being said."""
    with _struck(relay):
        for _ in range(rng.randrange(1, 6)):
            relay.cut()
            await asyncio.sleep(rng.uniform(0.02, 0.5))


async def _slow(relay: Relay, rng: random.Random) -> None:
    with _struck(relay):
        relay.latency_s = rng.uniform(0.02, 0.2)
        try:
            await asyncio.sleep(rng.uniform(0.5, 2.5))
        finally:
            relay.latency_s = 0.0


async def _lose(relay: Relay, rng: random.Random, seconds: float) -> None:
    with _struck(relay):
        relay.deafen(*rng.choice(DEAF))
        try:
            await asyncio.sleep(seconds)
        finally:
            relay.hear()


@contextmanager
def _struck(relay: Relay) -> Generator[None, None, None]:
    """Raises NoEffect where nothing came that way meanwhile."""
    before = relay.struck
    yield
    if relay.struck == before:
        raise NoEffect("nothing came that way")


async def pull_cable(rig: Rig, number: int, rng: random.Random) -> None:
    """The runner's link is down: the store and everybody else are gone for it, and it for them."""
    cable = _cable(rig, number)
    await asyncio.to_thread(cable.pull)
    await _until_plugged_in(cable, rig.plan.lease_ttl_s * rng.uniform(0.2, 1.8))


async def drop_packets(rig: Rig, number: int, rng: random.Random) -> None:
    """In one direction: it hears and is not heard, or is heard and does not hear."""
    cable, chain = _cable(rig, number), rng.choice(CHAINS)
    await asyncio.to_thread(cable.drop, chain)
    await _until_plugged_in(cable, rig.plan.lease_ttl_s * rng.uniform(0.2, 1.8), chain)


async def reset_connections(rig: Rig, number: int, rng: random.Random) -> None:
    """All that say something, for a moment."""
    cable, chain = _cable(rig, number), rng.choice(CHAINS)
    await asyncio.to_thread(cable.reset, chain)
    await _until_plugged_in(cable, rng.uniform(0.05, 0.5), chain)


def _cable(rig: Rig, number: int) -> Cable:
    cable = rig.runners[number].links.cable
    assert cable is not None
    return cable


async def _until_plugged_in(cable: Cable, seconds: float, chain: Chain | None = None) -> None:
    """Raises NoEffect where no packet met the rule of `chain`."""
    try:
        await asyncio.sleep(seconds)
        if chain is not None and not await asyncio.to_thread(cable.struck, chain):
            raise NoEffect("no packet came that way")
    finally:
        await asyncio.to_thread(cable.plug_in)


async def starve(rig: Rig, number: int, rng: random.Random) -> None:
    """Whatever asks for memory may fail; then it is ended, as is done with those that need more than they are given."""
    runner = rig.runners[number]
    starved = await runner.starve(rig.plan.lease_ttl_s * rng.uniform(0.3, 1.0))
    await runner.kill()
    await runner.start()
    if not starved:
        raise NoEffect("it did not come to take its memory")


def no_memory_to_limit() -> str | None:
    return None if sys.platform == "linux" else "limiting a running process's memory needs Linux"


async def fill_disk(rig: Rig, number: int, rng: random.Random) -> None:
    """The store's. It may give up over that; it is there again once there is room."""
    assert rig.postgres is not None and rig.postgres.disk is not None
    await asyncio.to_thread(rig.postgres.disk.fill)
    try:
        await asyncio.sleep(rng.uniform(0.3, rig.plan.lease_ttl_s))
        if not await rig.audit.full():
            raise RuntimeError("there was room all the same")
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
    Fault(name=STEP_CLOCK, target="clock", run=step_clock, needs=no_clock_to_step),
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
