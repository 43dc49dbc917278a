"""Who comes next: shares of the priorities, order inside one, nothing left idle."""

from __future__ import annotations

from collections import Counter
from typing import Any

from holdfast.jobs.attempt import Held, Phase
from holdfast.jobs.lanes import ROUND, LaneQueue
from holdfast.jobs.tally import Tally
from holdfast.metrics import MetricsService
from holdfast.model.job import JobRow


def held(job: int, priority: int) -> Held:
    row = JobRow(job, 0, "t", priority, b"", b"", None, None, 1, 1, 0, 0, 0, 0, None, 0, 1, None, None)
    nothing: Any = None
    return Held(row, nothing, Tally(MetricsService(), "t", "normal", ()), Phase.WAITING)


def filled(*, keeps: bool = False, **queued: int) -> LaneQueue:
    """A lane of a hundred slots, which keeps some for critical jobs or not."""
    lane = LaneQueue(100, critical=keeps)
    for priority, count in enumerate(queued.get(name, 0) for name in ("critical", "high", "normal", "low")):
        for number in range(count):
            lane.append(held(priority * 1000 + number, priority))
    return lane


def test_priorities_share_four_to_three_to_two_to_one() -> None:
    """Exactly, over every ten picks, while all of them wait."""
    lane = filled(critical=100, high=100, normal=100, low=100)
    for _ in range(5):
        assert Counter(one.row.priority for one in lane.take(10)) == {0: 4, 1: 3, 2: 2, 3: 1}


def test_a_round_is_spread_so_that_the_lowest_never_waits_for_more_than_ten() -> None:
    """And it does not depend on how many are taken at a time."""
    assert len(ROUND) == 10
    lane = filled(critical=1000, low=2)
    taken = [lane.take(1)[0].row.priority for _ in range(20)]
    assert taken.count(3) == 2


def test_what_a_queue_leaves_unused_the_others_take() -> None:
    """Nothing is held back for a priority that does not wait."""
    lane = filled(low=7)
    assert [one.row.id for one in lane.take(10)] == [3000 + n for n in range(7)]
    lane = filled(critical=2, low=50)
    assert len(lane.take(40)) == 40


def test_inside_a_priority_first_come_is_first_served() -> None:
    """Also for those that were put back."""
    lane = filled(normal=5)
    first = lane.take(3)
    lane.put_back(first)
    assert [one.row.id for one in lane.take(5)] == [2000, 2001, 2002, 2003, 2004]


def test_what_was_taken_away_meanwhile_is_passed_over() -> None:
    """A cancelled job takes no slot."""
    lane = filled(normal=3)
    (first,) = lane.take(1)
    lane.put_back([first])
    first.phase = Phase.ENDING
    assert [one.row.id for one in lane.take(3)] == [2001, 2002]
    assert lane.queued == 0


def started(lane: LaneQueue, limit: int = 1000) -> list[int]:
    """The priorities of what is taken and given slots."""
    taken = [one.row.priority for one in lane.take(limit)]
    for priority in taken:
        lane.occupy(priority)
    return taken


def test_one_slot_in_twenty_is_kept_for_critical_jobs_where_there_are_such() -> None:
    """Whatever else waits; and a critical job may take any."""
    lane = filled(keeps=True, high=50, low=200)
    assert Counter(started(lane)) == {1: 50, 3: 45}
    assert (lane.free, lane.ready) == (5, False)
    lane.append(held(1, 0))
    assert lane.ready
    assert started(lane) == [0]
    lane.vacate(0)
    assert not lane.ready  # that one was not theirs
    lane.vacate(3)
    assert started(lane) == [3]
    lane = filled(keeps=True, critical=200)
    assert len(started(lane)) == 100
    lane = filled(low=200)
    assert len(started(lane)) == 100


def test_a_lane_of_few_slots_keeps_none() -> None:
    lane = LaneQueue(19, critical=True)
    for number in range(30):
        lane.append(held(number, 3))
    assert len(started(lane)) == 19


def test_shares_are_as_ever_beside_slots_that_are_kept() -> None:
    """Four to one, while both wait and both find slots."""
    lane = filled(keeps=True, critical=100, low=100)
    assert Counter(started(lane, 50)) == {0: 40, 3: 10}


def test_a_critical_job_passes_those_that_may_not_have_the_slot() -> None:
    lane = filled(keeps=True, low=200)
    started(lane)
    assert lane.open_to(0)
    assert not lane.open_to(1)
    lane.append(held(1, 0))
    assert not lane.open_to(0)  # another one was first


def test_what_is_lent_is_not_what_is_kept() -> None:
    lane = LaneQueue(100, critical=True)
    lane.lend(90)
    assert lane.to_lend == 3  # half of the other five
    lane.lend(lane.to_lend)
    lane.lend(lane.to_lend)
    lane.lend(lane.to_lend)
    assert (lane.to_lend, lane.free) == (0, 5)
    lane.lend(-95)
    assert (lane.free, lane.shared) == (100, 95)
