"""What one seed does: a cluster, what its users do, and what befalls it. Pure data, made before anything runs.

A plan is whole: nothing about a run is decided by a generator that several parts share, so that a step or a fault can
be taken out and the rest stays what it was. That is how a failing seed is made smaller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

ACCOUNTS = ("anna", "bert", "cleo", "dora")
BASINS = ("f1", "f2")
SENDERS_MAX = 5
FAULTS_FROM_S, FAULTS_TO_S = 0.2, 3.5
GAUGES_RATE = 0.25
INSIDE_RATE = 0.2
FLOOD = 9
ROLLS = ("r1", "r2")
BURSTS_RATE = 0.5


class Step(NamedTuple):
    """One act of one sender, after a pause. `args` depend on the kind."""

    sender: int
    pause_s: float
    kind: str
    args: tuple[Any, ...]
    number: int
    """Of this step, in the whole plan; keys and names are made of it."""


class Fault(NamedTuple):
    """Something that happens at a moment, to the runner that stands at this place among those that run then."""

    at_s: float
    kind: str
    place: int
    for_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad things are all the time, until faults stop. Rates are per call or write, times are seconds."""

    store_late_s: float = 0.0005
    store_refuses: float = 0.0
    store_loses: float = 0.0
    """How often the store does what it is asked and its answer is lost."""
    network_s: tuple[float, float] = (0.0002, 0.001)
    network_breaks: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    seed: int
    runners: int
    shards: int
    weather: Weather
    steps: Sequence[Step]
    faults: Sequence[Fault]
    inside: bool
    """Whether every other sender is code of the first runner's process, which then neither ends nor freezes."""
    gauges: bool
    """Whether the gauges are checked too, for which it takes some seconds of peace."""

    @property
    def orderly(self) -> bool:
        """Whether nothing happens that may cost a runner its lease."""
        quiet = self.weather.store_refuses == self.weather.store_loses == 0.0
        return quiet and all(fault.kind in HARMLESS for fault in self.faults)


def plan_of(seed: int) -> Plan:
    random = Random(seed)
    orderly = random.random() < 0.2
    runners = random.choice([1, 2, 2, 2, 3, 3, 4])
    inside = random.random() < INSIDE_RATE
    plan = Plan(
        seed=seed,
        runners=runners,
        shards=random.choice([4, 8]),
        weather=Weather() if orderly else _weather(random),
        steps=_steps(random, orderly=orderly),
        faults=_faults(random, _kinds(runners, orderly=orderly)),
        inside=inside,
        gauges=random.random() < GAUGES_RATE,
    )
    return _with_bursts(plan)


def _weather(random: Random) -> Weather:
    return Weather(
        store_late_s=random.choice([0.0005, 0.002, 0.02]),
        store_refuses=random.choice([0.0, 0.0, 0.02, 0.1]),
        store_loses=random.choice([0.0, 0.0, 0.01, 0.05]),
        network_s=random.choice([(0.0002, 0.001), (0.001, 0.02), (0.0, 0.2)]),
        network_breaks=random.choice([0.0, 0.0, 0.005, 0.02]),
    )


def _steps(random: Random, *, orderly: bool) -> list[Step]:
    steps: list[Step] = []
    for sender in range(random.randint(2, SENDERS_MAX)):
        kinds = ("long job",) if orderly and sender == 0 else random.choice(HABITS)
        for _ in range(random.randint(3, 9)):
            kind = random.choice(kinds)
            pause_s = random.choice([0.0, 0.0, random.uniform(0.0, 1.5)])
            steps.append(Step(sender, pause_s, kind, _args(kind, random), len(steps)))
    return steps


def _with_bursts(plan: Plan) -> Plan:
    """Senders of their own, and what is hard on them; from a generator of their own: the rest of the plan is as old as
    its seed.
    """
    random = Random(f"bursts of {plan.seed}")
    if random.random() >= BURSTS_RATE:
        return plan
    steps, rolls = list(plan.steps), random.choice([ROLLS, ROLLS[:1]])
    for sender in range(SENDERS_MAX, SENDERS_MAX + random.choice([1, 2])):
        roll = random.choice(rolls)
        for _ in range(random.randint(2, 4)):
            waves = tuple(random.randint(5, 12) for _ in range(random.randint(1, 2)))
            args = roll, waves, random.choice([0.0, 0.002, 0.1]), random.random() < 0.5
            steps.append(Step(sender, random.uniform(0.0, 1.0), "burst", args, len(steps)))
    snaps = [Fault(random.uniform(0.0, 0.5), "snap", place, 3.0) for place in range(random.choice([0, plan.runners]))]
    return dataclasses.replace(plan, steps=steps, faults=sorted([*plan.faults, *snaps]))


HABITS = (
    ("deposit",),
    ("pay", "deposit", "stream"),
    ("tell",),
    ("pay",),
    ("pay", "pay", "touch", "show"),
    ("touch", "show"),
    ("job",),
    ("job", "cancel"),
    ("grouped",),
    ("keyed", "keyed", "pay"),
    ("timer", "untime"),
    ("poison", "deposit"),
    ("bad job", "job"),
    ("flood",),
)


def _args(kind: str, random: Random) -> tuple[Any, ...]:
    match kind:
        case "deposit" | "tell":
            return random.choice(ACCOUNTS), random.randint(1, 50)
        case "pay":
            source, target = random.sample(ACCOUNTS, 2)
            return source, target, random.randint(1, 60)
        case "job":
            priority = random.choice(["critical", "high", "normal", "low"])
            return random.choice([0, 0, 1, 2]), random.choice([0.0, 0.2, 1.5]), random.choice([0.0, 0.0, 2.0]), priority
        case "long job":
            return 0, random.uniform(1.0, 3.0), 0.0, "normal"
        case "grouped":
            return random.choice(["g1", "g2"]), random.choice([0.0, 0.5])
        case "keyed":
            return random.randint(0, 2), random.choice([0, 0, 0, 1])
        case "timer":
            return random.choice(ACCOUNTS), random.choice(["t1", "t2"]), random.uniform(0.5, 4.0)
        case "untime":
            return random.choice(ACCOUNTS), random.choice(["t1", "t2"])
        case "flood":
            return random.choice(BASINS), FLOOD
        case _:
            return (random.choice(ACCOUNTS),)


ORDERLY = ("clock", "start", "drain", "stop", "partition", "deaf")
HARMLESS = (*ORDERLY, "snap")


def _kinds(runners: int, *, orderly: bool) -> Sequence[str]:
    if runners == 1:
        return ("clock", "start") if orderly else ("clock", "start", "store away")
    return ORDERLY if orderly else (*ORDERLY, "store away", "crash", "crash", "freeze", "freeze", "cut off")


def _faults(random: Random, kinds: Sequence[str]) -> list[Fault]:
    found = [
        Fault(
            random.uniform(FAULTS_FROM_S, FAULTS_TO_S),
            random.choice(kinds),
            random.randint(0, 7),
            random.choice([0.3, 1.5, random.uniform(2.2, 4.5)]),
        )
        for _ in range(random.choice([0, 1, 1, 2, 3, 4]))
    ]
    return sorted(found)
