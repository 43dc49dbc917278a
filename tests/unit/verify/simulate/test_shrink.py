"""A plan that fails is made as small as it goes."""

from __future__ import annotations

import dataclasses

from holdfast.verify.simulate.plan import Fault, Plan, Step, Weather, plan_of
from holdfast.verify.simulate.shrink import shrunk


def large() -> Plan:
    return Plan(
        seed=1,
        runners=4,
        shards=8,
        weather=Weather(store_refuses=0.1, network_breaks=0.02),
        steps=[Step(number % 3, 0.5, "deposit", ("anna", 5), number) for number in range(20)],
        faults=[Fault(float(at), kind, 0, 1.0) for at, kind in enumerate(["crash", "freeze", "drain", "crash"])],
        inside=False,
        gauges=True,
    )


def test_what_the_failure_needs_is_left_and_nothing_else() -> None:
    def fails(plan: Plan) -> bool:
        return (
            any(step.number == 13 for step in plan.steps)
            and any(fault.kind == "freeze" for fault in plan.faults)
            and plan.runners >= 2
            and plan.weather.store_refuses > 0
        )

    small = shrunk(large(), fails)
    assert [step.number for step in small.steps] == [13]
    assert [fault.kind for fault in small.faults] == ["freeze"]
    assert small.runners == 2
    assert small.weather == Weather(store_refuses=0.1)
    assert (small.seed, small.shards, small.gauges) == (1, 8, True)


def test_what_does_not_fail_smaller_stays() -> None:
    plan = large()
    assert shrunk(plan, lambda smaller: smaller == plan) == plan


def test_it_tries_so_often_and_no_more() -> None:
    tried = 0

    def fails(plan: Plan) -> bool:
        nonlocal tried
        tried += 1
        return False

    shrunk(large(), fails, tries_max=7)
    assert tried == 7


def test_a_plan_is_made_of_its_seed_alone() -> None:
    assert plan_of(5) == plan_of(5)
    assert dataclasses.replace(plan_of(5), seed=0) != dataclasses.replace(plan_of(6), seed=0)
