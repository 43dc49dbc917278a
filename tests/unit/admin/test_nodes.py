"""What an operator sees of runners and shards, and when a drain is over."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from holdfast.admin.nodes import Cluster, Drained, ask, drained, in_ranges, until_drained
from holdfast.errors import RunnerUnavailable
from holdfast.model.cluster import GroupRow, RunnerRow, RunnerState, ShardRow
from holdfast.model.ids import SECOND_US

NOW = 100 * SECOND_US
ROW = RunnerRow(1, "tcp:10.0.0.1:7400", "1", ("Cart",), ("default",), 1.0, "active", "active", 0, NOW + 6 * SECOND_US)
DRAINING = ROW._replace(state="draining", wanted="draining")
OTHER = ROW._replace(runner_id=2, address="tcp:10.0.0.2:7400")


def cluster(*runners: RunnerRow, owners: tuple[int, ...] = ()) -> Cluster:
    shards = [ShardRow("default", number, owner, 1) for number, owner in enumerate(owners)]
    return Cluster(now_us=NOW, runners=runners, shards=shards)


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2, 5, 7, 8], "0-2, 5, 7-8"), ([63], "63")])
def test_numbers_in_a_row_are_one_range(numbers: list[int], text: str) -> None:
    assert in_ranges(numbers) == text


def test_a_map_has_a_line_for_each_owner_and_group_and_for_nobody() -> None:
    found = cluster(ROW, OTHER, owners=(1, 1, 2, 0, 1))
    assert found.ranges() == {(0, "default"): "3", (1, "default"): "0-1, 4", (2, "default"): "2"}


def test_of_two_runners_with_one_address_the_younger_one_is_meant() -> None:
    """The elder was killed, and its lease has not run out yet."""
    found = cluster(ROW, ROW._replace(runner_id=5), OTHER)
    young = found.at(ROW.address)
    assert young is not None and young.runner_id == 5
    assert found.at("tcp:10.0.0.9:7400") is None


def test_a_drain_is_done_when_nothing_is_left_or_the_runner_is_gone() -> None:
    assert drained(cluster(DRAINING, OTHER, owners=(2, 2)), 1) == Drained(left=0, gone=False, alone=False)
    assert drained(cluster(OTHER, owners=(2, 2)), 1).done
    assert drained(cluster(DRAINING._replace(expires_at=NOW), OTHER, owners=(1, 2)), 1).gone
    assert not drained(cluster(DRAINING, OTHER, owners=(1, 2)), 1).done


@pytest.mark.parametrize(
    "other",
    [
        OTHER._replace(wanted="cordoned"),
        OTHER._replace(state="draining"),
        OTHER._replace(expires_at=NOW),
        OTHER._replace(groups=("media",)),
    ],
)
def test_who_can_take_nothing_is_not_waited_for(other: RunnerRow) -> None:
    assert drained(cluster(DRAINING, other, owners=(1, 2)), 1).alone


def test_it_is_waited_for_as_long_as_the_runner_has_not_heard() -> None:
    assert not drained(cluster(ROW._replace(wanted="draining"), owners=(1,)), 1).alone


@dataclass
class Desk:
    """`MembershipDesk` whose looks are given."""

    looks: list[Cluster]
    wishes: list[tuple[int, str]] = field(default_factory=list)

    async def runners(self) -> list[RunnerRow]:
        return list(self.looks[0].runners)

    async def shards(self) -> list[ShardRow]:
        looked = self.looks[0]
        self.looks = self.looks[1:] or self.looks
        return list(looked.shards)

    async def groups(self) -> list[GroupRow]:
        return []

    async def now_us(self) -> int:
        return NOW

    async def want(self, runner_id: int, state: str) -> bool:
        self.wishes.append((runner_id, state))
        return runner_id == 1


async def test_it_is_looked_again_until_nothing_is_left() -> None:
    desk = Desk([cluster(DRAINING, OTHER, owners=(1, 1)), cluster(DRAINING, OTHER, owners=(2, 2))])
    assert (await until_drained(desk, 1, timeout_s=60.0)).done


async def test_after_its_time_it_says_what_is_left() -> None:
    desk = Desk([cluster(DRAINING, OTHER, owners=(1, 1))])
    assert await until_drained(desk, 1, timeout_s=0.0) == Drained(left=2, gone=False, alone=False)


async def test_a_wish_for_a_runner_that_is_not_there_is_an_error() -> None:
    desk = Desk([])
    await ask(desk, 1, RunnerState.CORDONED)
    assert desk.wishes == [(1, "cordoned")]
    with pytest.raises(RunnerUnavailable, match="no runner 7"):
        await ask(desk, 7, RunnerState.ACTIVE)
