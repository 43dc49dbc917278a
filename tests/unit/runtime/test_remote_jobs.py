"""Submits to other processes: sent again as long as they are refused, and questions about jobs that can't be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.errors import EntityNotAssignedToRunner, JobNotFound, RpcClientError
from holdfast.jobs.definition import declare_job
from holdfast.kit.clock import SystemClock
from holdfast.kit.ids import IdPool
from holdfast.model.envelope import Reply, Request, Result
from holdfast.model.ids import JobId
from holdfast.runtime.questions import Orders, Submitted, pack, unpack
from holdfast.runtime.remote.jobs import RemoteJobs
from holdfast.settings import Settings
from holdfast.testing import run

TRIES = 2000
"""More than Python lets functions call each other."""


@declare_job
async def work(number: int) -> int:
    return number


class Played:
    """Two owners of shards, each with the refusals that the test gives it; ids belong in turn to one and the other."""

    def __init__(self) -> None:
        self.orders: list[Orders] = []
        self.refusals: list[list[Exception]] = [[], []]
        self.links = [self._link(place) for place in range(2)]
        nothing: Any = None
        played: Any = self
        self.jobs = RemoteJobs(
            links=played,
            asker=played,
            leavings=SimpleNamespace(left_in=lambda _: 0, left=0),  # type: ignore[arg-type]
            whereabouts=SimpleNamespace(job=nothing),  # type: ignore[arg-type]
            commands=nothing,
            ids=IdPool(self._allocate),
            places=played,
            clock=SystemClock(),
            settings=Settings(),
        )

    def _link(self, place: int) -> Any:
        async def call(request: Request) -> Reply:
            if self.refusals[place]:
                raise self.refusals[place].pop()
            orders = unpack(request.payload, Orders)
            self.orders.append(orders)
            return Result(0, pack([Submitted(order.id, False) for order in orders.jobs]))

        return SimpleNamespace(open=lambda: None, peer=SimpleNamespace(call=call), unreachable=False, why="")

    async def _allocate(self, count: int) -> int:
        return 2

    async def known(self) -> None: ...

    async def pause(self, at_most_s: float) -> None:
        await asyncio.sleep(0)

    def of_job(self, number: int, *_: object) -> int:
        return number % 2

    def toward(self, shard: int) -> Any:
        return self.links[shard]


def stored(orders: Sequence[Orders]) -> list[tuple[list[int], bool]]:
    return sorted(([job.id for job in one.jobs], one.retry) for one in orders)


def test_a_submit_is_refused_as_often_as_it_takes() -> None:
    """A shard that gives its handlers half a minute to end is nobody's meanwhile."""

    async def main() -> Played:
        played = Played()
        played.refusals[0] = [EntityNotAssignedToRunner("moving") for _ in range(TRIES)]
        handle = await played.jobs.submit(work.call(1))
        assert (handle.id, handle.duplicate) == (JobId("2"), False)
        return played

    assert stored(run(main()).orders) == [([2], False)]


def test_of_jobs_for_several_owners_only_those_are_sent_again_that_were_not_stored() -> None:
    async def main() -> Played:
        played = Played()
        played.refusals = [[], [EntityNotAssignedToRunner("moving"), RpcClientError("broke")]]
        handles = await played.jobs.submit_many([work.call(number) for number in range(4)])
        assert [int(handle.id) for handle in handles] == [2, 3, 4, 5]
        return played

    assert stored(run(main()).orders) == [([2, 4], False), ([3, 5], True)]


@pytest.mark.parametrize("job", ["9" * 19, "0x1", "", "-1"])
def test_what_can_be_no_id_of_a_job_is_looked_for_nowhere(job: str) -> None:
    async def main() -> None:
        for asking in (Played().jobs.status, Played().jobs.cancel, Played().jobs.replay):
            with pytest.raises(JobNotFound):
                await asking(JobId(job))

    run(main())
