"""Faults one after another and on top of each other, by a seed, until the time is over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .evidence import Harm
from .faults import DRAINS, FAULTS, Fault, NoEffect
from .history import now
from .rig import Rig

OWNERS_WITHIN_S = 2.0
EVERY_S, ALONE_S, ALONE_LEASES = 60.0, 10.0, 2.5
"""How often faults come one by one, and for how long: some seconds and some leases."""
TRIES_ENOUGH = 5
"""A kind that has struck nothing after so many can't strike."""
CALM_S = 1.0
"""Beyond a lease, before and after one that is alone."""


@dataclass(slots=True, kw_only=True)
class Injection:
    """A fault as it was."""

    fault: str
    target: str
    began: float
    ended: float = 0.0
    overlapped: bool = False
    owned: frozenset[str] | None = None
    """The probes that lived where it struck; None where that is not known or makes no sense."""
    error: str | None = None
    no_effect: str | None = None
    """Why it struck nothing."""


@dataclass(slots=True, kw_only=True)
class Storm:
    """What was done, and what could not be."""

    injections: list[Injection] = field(default_factory=list[Injection])
    not_run: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def struck(self) -> list[Injection]:
        return [one for one in self.injections if one.no_effect is None]

    @property
    def without_effect(self) -> Counter[str]:
        return Counter(one.fault for one in self.injections if one.no_effect is not None)

    @property
    def errors(self) -> list[str]:
        """A fault that has failed; and a kind that took no effect however often it was tried."""
        struck = kinds_of(self.struck)
        return [
            *(f"{one.fault} of {one.target}: {one.error}" for one in self.injections if one.error),
            *(
                f"{fault}: no effect in {tries} tries"
                for fault, tries in self.without_effect.items()
                if tries >= TRIES_ENOUGH and not struck[fault]
            ),
        ]


async def storm(rig: Rig) -> Storm:
    """Returns when the last fault has healed. Each fault is chosen and shaped by the seed alone.

    At first each kind comes once. Most of the time up to `overlapping` of them are there at once; in between, for a
    part of every minute, each is waited for, and for what came of it, before the next one.
    """
    found, rng, plan = Storm(), random.Random(rig.plan.seed), rig.plan
    able = _able(rig, found)
    running: dict[asyncio.Task[None], frozenset[tuple[str, int]]] = {}
    began = now()
    first_round = list(able)
    rng.shuffle(first_round)
    try:
        while now() < began + plan.seconds and able:
            running = {task: hold for task, hold in running.items() if not task.done()}
            alone = (now() - began) % EVERY_S > EVERY_S - ALONE_S - ALONE_LEASES * plan.lease_ttl_s
            if alone and running:
                await asyncio.wait(running)
                continue
            if alone:
                await asyncio.sleep(plan.lease_ttl_s + CALM_S)
            if len(running) < plan.overlapping:
                fault = first_round.pop() if first_round else _chosen(able, rng)
                shape = random.Random(rng.random())
                number = shape.randrange(fault.targets(rig))
                holds = fault.holds(rig, number)
                if all(holds.isdisjoint(held) for held in running.values()):
                    task = asyncio.create_task(_inject(rig, found, fault, number, shape))
                    running[task] = holds
            await asyncio.sleep(rng.uniform(0.5, 1.5) * plan.between_s)
        if running:
            await asyncio.wait(running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return found


def _able(rig: Rig, found: Storm) -> list[Fault]:
    able: list[Fault] = []
    for fault in FAULTS:
        if rig.plan.kinds and fault.name not in rig.plan.kinds:
            found.not_run[fault.name] = "not asked for"
        elif reason := fault.why_not(rig):
            found.not_run[fault.name] = reason
        else:
            able.append(fault)
    return able


def _chosen(able: Sequence[Fault], rng: random.Random) -> Fault:
    return rng.choices(able, [fault.weight for fault in able])[0]


async def _inject(rig: Rig, found: Storm, fault: Fault, number: int, rng: random.Random) -> None:
    owned = await _probes_of(rig, number) if fault.of == "runner" and fault.target in ("process", "cable") else None
    injection = Injection(fault=fault.name, target=fault.victim(number), began=now(), owned=owned)
    found.injections.append(injection)
    rig.say(f"{fault.name}: {injection.target}")
    try:
        await fault.run(rig, number, rng)
    except NoEffect as reason:
        injection.no_effect = str(reason)
        rig.say(f"{fault.name}: {injection.target}: no effect: {reason}")
    except Exception as error:
        injection.error = repr(error)
    finally:
        injection.ended = now()


async def _probes_of(rig: Rig, number: int) -> frozenset[str] | None:
    try:
        async with asyncio.timeout(OWNERS_WITHIN_S):
            runners, owners = await rig.audit.runners(), await rig.audit.owners()
    except Exception:
        return None  # the store is away
    runner = runners.get(rig.runners[number].address)
    return None if runner is None else frozenset(probe for probe, owner in owners.items() if owner == runner)


def mark_overlaps(injections: Sequence[Injection], *, after_s: float) -> None:
    """A fault overlaps with another one if the other was there before its consequences were over; a drain has none."""
    reach, last = float("-inf"), None
    for one in sorted(injections, key=lambda one: one.began):
        one.overlapped = one.began < reach
        if one.overlapped and last is not None:
            last.overlapped = True
        over = one.ended + (0.0 if one.fault in DRAINS else after_s)
        if over > reach:
            reach, last = over, one


def harms(injections: Sequence[Injection], *, margin_s: float) -> list[Harm]:
    """What may have ended an attempt: all but drains. A little earlier and later, since a lease has to run out."""
    return [
        Harm(one.target, one.began - margin_s, one.ended + margin_s) for one in injections if one.fault not in DRAINS
    ]


def kinds_of(injections: Sequence[Injection]) -> Counter[str]:
    return Counter(one.fault for one in injections)
