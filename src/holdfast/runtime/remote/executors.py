"""The other runners as executors of jobs: `jobs.surroundings.Executors` over the links."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from holdfast.jobs.job_type import Lane
from holdfast.jobs.surroundings import Lent
from holdfast.model.cluster import RunnerState
from holdfast.ports.membership import MembershipReader
from holdfast.runtime import questions
from holdfast.runtime.questions import AskInterrupt, AskSlots, SlotsLent, pack, unpack

from .asking import Asker
from .links import Links

ANSWER_S = 5.0
"""Seconds that an executor gets to answer; longer than it waits for a slot to become free."""

HEARD: Any = bool | None


class RemoteExecutors:
    """Asks runners by their ids."""

    def __init__(self, *, links: Links, asker: Asker, membership: MembershipReader) -> None:
        self._links = links
        self._asker = asker
        self._membership = membership

    def others(self) -> Sequence[int]:
        return [row.runner_id for row in self._links.peers() if row.state == RunnerState.ACTIVE]

    async def gone(self, executors: Collection[int], /) -> Collection[int]:
        return set(executors).difference(row.runner_id for row in await self._membership.runners())

    async def borrow(self, executor: int, lane: Lane, slots: int, /) -> Lent:
        answer = await self._ask(executor, questions.LEND_SLOTS, pack(AskSlots(lane, slots)), repeatable=False)
        lent = unpack(answer, SlotsLent)
        return Lent(lent.credit, lent.slots, lent.types)

    async def run(self, executor: int, credit: int, /) -> None:
        await self._ask(executor, questions.RUN_LENT, pack(credit))

    async def interrupt(self, executor: int, job: int, number: int, /) -> bool:
        answer = await self._ask(executor, questions.JOB_INTERRUPT, pack(AskInterrupt(job, number)))
        return unpack(answer, HEARD) is not False  # an executor of an older version does not say

    async def _ask(self, executor: int, service: str, payload: bytes, *, repeatable: bool = True) -> bytes:
        return await self._asker.question(
            lambda: self._links.to(executor), service, payload, ANSWER_S, repeatable=repeatable
        )
