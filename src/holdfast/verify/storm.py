"""Faults one after another and on top of each other, by a seed, until the time is over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .faults import FAULTS, Fault
from .history import now
from .rig import Rig, progress

OWNERS_WITHIN_S = 2.0


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


@dataclass(slots=True, kw_only=True)
class Storm:
    """What was done, and what could not be."""

    injections: list[Injection] = field(default_factory=list[Injection])
    not_run: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def errors(self) -> list[str]:
        return [f"{one.fault} of {one.target}: {one.error}" for one in self.injections if one.error]


async def storm(rig: Rig) -> Storm:
    """Returns when the last fault has healed. Each fault is chosen and shaped by the seed alone."""
    found, rng, plan = Storm(), random.Random(rig.plan.seed), rig.plan
    able = _able(rig, found)
    running: dict[asyncio.Task[None], tuple[str, str]] = {}
    over_at = now() + plan.seconds
    first_round = list(able)
    rng.shuffle(first_round)
    try:
        while now() < over_at and able:
            running = {task: hold for task, hold in running.items() if not task.done()}
            if len(running) < plan.overlapping:
                fault = first_round.pop() if first_round else _chosen(able, rng)
                shape = random.Random(rng.random())
                number = shape.randrange(fault.targets(rig))
                hold = (fault.target, str(number))
                if hold not in running.values():
                    task = asyncio.create_task(_inject(rig, found, fault, number, shape, overlaps=bool(running)))
                    running[task] = hold
                elif fault not in able:
                    continue
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


async def _inject(rig: Rig, found: Storm, fault: Fault, number: int, rng: random.Random, *, overlaps: bool) -> None:
    owned = await _probes_of(rig, number) if fault.target == "process" else None
    injection = Injection(fault=fault.name, target=_target(fault, number), began=now(), owned=owned)
    found.injections.append(injection)
    progress(f"verify: {injection.began - rig.started:6.1f} s  {fault.name}: {injection.target}")
    try:
        await fault.run(rig, number, rng)
    except Exception as error:
        injection.error = repr(error)
    finally:
        injection.ended = now()


def _target(fault: Fault, number: int) -> str:
    return "store" if fault.of == "store" else f"{fault.of}-{number}"


async def _probes_of(rig: Rig, number: int) -> frozenset[str] | None:
    try:
        async with asyncio.timeout(OWNERS_WITHIN_S):
            runners, owners = await rig.audit.runners(), await rig.audit.owners()
    except Exception:
        return None  # the store is away
    runner = runners.get(rig.runners[number].address)
    return None if runner is None else frozenset(probe for probe, owner in owners.items() if owner == runner)


def mark_overlaps(injections: Sequence[Injection], *, after_s: float) -> None:
    """A fault overlaps with another one if the other was there before its consequences were over."""
    for one in injections:
        one.overlapped = any(
            other is not one and other.began < one.ended + after_s and one.began < other.ended + after_s
            for other in injections
        )


def kinds_of(injections: Sequence[Injection]) -> Counter[str]:
    return Counter(one.fault for one in injections)
