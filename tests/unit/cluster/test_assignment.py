"""The plan: even by weight, few moves, only to who may take, and the same for everybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cluster.assignment import Role, assign, role_of
from holdfast.model.cluster import GroupRow, RunnerRow

GROUP = GroupRow("default", 0, 64, ("Cart",))


def runner(runner_id: int, **said: object) -> RunnerRow:
    row = RunnerRow(runner_id, "", "1", ("Cart",), ("default",), 1.0, "active", "active", 0, 1_000)
    return row._replace(**said)  # type: ignore[arg-type]


def plan(*rows: RunnerRow, current: Mapping[int, int] | None = None, group: GroupRow = GROUP) -> dict[int, int]:
    return assign(rows, [group], current or {}, now_us=0)


def moves(before: Mapping[int, int], after: Mapping[int, int]) -> int:
    return sum(before[shard] != owner for shard, owner in after.items())


def test_one_runner_gets_everything() -> None:
    assert plan(runner(7)) == dict.fromkeys(range(64), 7)


def test_shares_differ_by_one_at_most() -> None:
    assert sorted(Counter(plan(runner(1), runner(2), runner(3)).values()).values()) == [21, 21, 22]


def test_shares_follow_the_weights() -> None:
    assert Counter(plan(runner(1), runner(2, weight=3.0)).values()) == {1: 16, 2: 48}


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = [runner(1), runner(2), runner(3, weight=0.5)]
    assert plan(*rows) == plan(*reversed(rows))


def test_the_plan_is_the_same_in_every_version_of_this_algorithm() -> None:
    """Runners of two versions must not plan against each other: who changes this changes `ALGORITHM`."""
    made = assign([runner(1), runner(2), runner(3)], [GROUP._replace(shards=12)], {}, now_us=0)
    assert [made[shard] for shard in range(12)] == [3, 2, 1, 1, 2, 3, 3, 2, 1, 3, 1, 2]


def test_a_plan_that_was_carried_out_asks_for_nothing_more() -> None:
    made = plan(runner(1), runner(2), runner(3))
    assert plan(runner(1), runner(2), runner(3), current=made) == made


def test_a_newcomer_gets_its_share_and_nothing_else_moves() -> None:
    before = plan(runner(1), runner(2), runner(3))
    after = plan(runner(1), runner(2), runner(3), runner(4), current=before)
    assert moves(before, after) == 16 == Counter(after.values())[4]


def test_only_the_shards_of_the_dead_move() -> None:
    before = plan(runner(1), runner(2), runner(3))
    after = plan(runner(2), runner(3), current=before)
    assert moves(before, after) == Counter(before.values())[1]


def test_a_draining_runner_gives_everything_away() -> None:
    before = plan(runner(1), runner(2))
    assert set(plan(runner(1, state="draining"), runner(2), current=before).values()) == {2}
    assert set(plan(runner(1, wanted="draining"), runner(2), current=before).values()) == {2}


def test_without_a_receiver_everybody_keeps_what_they_have() -> None:
    before = plan(runner(1), runner(2))
    rows = runner(1, state="draining"), runner(2, state="draining")
    assert plan(*rows, current=before) == before
    assert set(plan(*rows).values()) == {0}


def test_a_cordoned_runner_keeps_what_it_has_and_gets_nothing() -> None:
    before = plan(runner(1), runner(2), runner(3))
    after = plan(runner(1, wanted="cordoned"), runner(2), current=before)
    assert [shard for shard, owner in after.items() if owner == 1] == [s for s, owner in before.items() if owner == 1]


def test_a_lease_that_has_ended_takes_nothing_and_loses_nothing_before_it_was_reaped() -> None:
    before = plan(runner(1), runner(2), runner(3))
    after = plan(runner(1, expires_at=0), runner(2), current=before)
    assert Counter(after.values())[1] == Counter(before.values())[1]


def test_a_group_goes_only_to_those_who_host_it() -> None:
    hosts = runner(1, groups=("default", "slow"))
    made = plan(hosts, runner(2), group=GROUP._replace(name="slow"))
    assert set(made.values()) == {1}


def test_nobody_without_a_type_of_the_group_is_given_shards() -> None:
    made = plan(runner(1), runner(2, types=("Cart", "Stock")), group=GROUP._replace(types=("Cart", "Stock")))
    assert set(made.values()) == {2}


def test_the_first_upgraded_runner_of_many_is_not_given_everything() -> None:
    """A new type makes all others old: they keep their share until there is room elsewhere."""
    old = [runner(number) for number in range(1, 9)]
    before = plan(*old, group=GROUP)
    group = GROUP._replace(types=("Cart", "Stock"))
    new = runner(9, types=("Cart", "Stock"))
    after = plan(*old[1:], new, current={s: o if o != 1 else 0 for s, o in before.items()}, group=group)
    assert Counter(after.values())[9] == 8
    assert moves(before, after) == 8


def test_groups_are_planned_apart() -> None:
    groups = [GROUP, GroupRow("slow", 64, 8, ())]
    made = assign([runner(1), runner(2, groups=("slow",))], groups, {}, now_us=0)
    assert {made[shard] for shard in range(64)} == {1}
    assert {made[shard] for shard in range(64, 72)} == {2}


def test_a_runner_without_weight_gives_what_it_has() -> None:
    assert role_of(runner(1, weight=0.0), GROUP, now_us=0) is Role.GIVES


@settings(max_examples=150, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.7]), min_size=1, max_size=12),
    shards=st.integers(1, 200),
    owners=st.randoms(use_true_random=False),
)
def test_no_plan_moves_more_than_it_must(weights: list[float], shards: int, owners: object) -> None:
    rows = [runner(number, weight=weight) for number, weight in enumerate(weights, start=1)]
    group = GROUP._replace(shards=shards)
    current = {shard: owners.randint(0, len(rows) + 1) for shard in range(shards)}  # type: ignore[attr-defined]
    made = plan(*rows, current=current, group=group)
    loads, total = Counter(made.values()), sum(weights)
    assert made.keys() == current.keys()
    for row in rows:
        assert abs(loads[row.runner_id] - shards * row.weight / total) < 1
    had = Counter(owner for owner in current.values() if 1 <= owner <= len(rows))
    beyond = sum(max(0, had[runner_id] - loads[runner_id]) for runner_id in had)
    homeless = shards - sum(had.values())
    assert moves(current, made) == beyond + homeless
    assert plan(*rows, current=made, group=group) == made


@pytest.mark.parametrize(("runners", "shards"), [(10, 640), (100, 4096)])
def test_many_runners_are_as_even_as_few(runners: int, shards: int) -> None:
    rows = [runner(number) for number in range(1, runners + 1)]
    loads = Counter(plan(*rows, group=GROUP._replace(shards=shards)).values())
    assert max(loads.values()) - min(loads.values()) <= 1
    assert len(loads) == runners
