"""Jobs that other processes own: submits under ids chosen here, and questions about jobs, over the links.

A submit whose answer was lost is sent again under the same id, which its owner looks up; so it is stored once. Where
the owner does not answer, jobs go into the inbox, and whether they are duplicates is decided when they are taken.
A question by id goes to the job's owner, whom the store names, so no runner has to send it on. Where the owner does not
answer, what asks for a change is checked against the store and left in the inbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from holdfast.errors import (
    FencedOut,
    JobInvalid,
    RpcClientError,
    RunnerUnavailable,
    SendTimeout,
)
from holdfast.jobs.call import JobCall
from holdfast.jobs.door import CancelOutcome, DeadLetter, FinishedJob, JobStatus
from holdfast.jobs.handle import JobHandle
from holdfast.jobs.lookup import job_number
from holdfast.kit.clock import Clock
from holdfast.kit.ids import IdPool
from holdfast.model.envelope import Request, Result
from holdfast.model.ids import JobId, micros
from holdfast.runtime import questions
from holdfast.runtime.questions import (
    ANYTHING,
    AskDeadLetters,
    AskJob,
    Orders,
    Submitted,
    order_of,
    pack,
    unpack,
)
from holdfast.settings import Settings

from .asking import REFUSED_PAUSE_S, UNREACHED_PAUSE_S, Asker, Way, nobody_answers
from .commands import Commands
from .leavings import Leavings
from .link import NOT_EXECUTED
from .links import Link, Links
from .places import Places, Whereabouts
from .rows import job_row

R = TypeVar("R")
T = TypeVar("T")

CHUNK_JOBS = 128
"""Jobs of one `submit_many` that are stored together, as far as they have one owner."""
POLL_S = 20.0
"""Seconds for which the runner is asked to wait for a job's end; who waits longer asks again."""

Numbered = tuple[int, JobCall[Any]]


class Again(NamedTuple):
    """Jobs that were sent together and are to be sent again; `retry` says that they may have been stored."""

    jobs: Sequence[Numbered]
    retry: bool


class RemoteJobs:
    """Implements `jobs.door.JobDoor` for jobs that live in other processes."""

    def __init__(
        self,
        *,
        links: Links,
        asker: Asker,
        leavings: Leavings,
        whereabouts: Whereabouts,
        commands: Commands,
        ids: IdPool,
        places: Places,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._links = links
        self._asker = asker
        self._leavings = leavings
        self._whereabouts = whereabouts
        self._commands = commands
        self._ids = ids
        self._places = places
        self._clock = clock
        self._timeout_s = settings.entities.call_timeout
        self._settings = settings.jobs

    async def submit(self, call: JobCall[R], /) -> JobHandle[R]:
        (handle,) = await self._submit((call,))
        return handle

    async def submit_many(self, calls: Sequence[JobCall[R]], /) -> list[JobHandle[R]]:
        handles: list[JobHandle[R]] = []
        plain: list[JobCall[R]] = []
        for call in calls:
            alone = call.rules.key is not None
            if plain and (alone or len(plain) == CHUNK_JOBS):
                handles += await self._submit(plain)
                plain = []
            if alone:
                handles += await self._submit((call,))
            else:
                plain.append(call)
        return handles + (await self._submit(plain) if plain else [])

    async def status(self, job: JobId, /) -> JobStatus:
        return unpack(await self._ask(await self._way_to(job), questions.JOB_STATUS, job), JobStatus)

    async def wait(self, job: JobId, /, *, timeout: float | None = None) -> FinishedJob:
        deadline = None if timeout is None else perf_counter() + timeout
        while True:
            left_s = POLL_S if deadline is None else min(POLL_S, deadline - perf_counter())
            if left_s <= 0:
                raise TimeoutError(f"job {job} had not ended after {timeout:g} s")
            way, asked = await self._way_to(job), AskJob(str(job), self._leavings.left, micros(left_s))
            try:
                payload = await self._asker.question(way, questions.JOB_WAIT, pack(asked), left_s + 1.0)
            except (RunnerUnavailable, SendTimeout):
                continue  # no runner for the moment: the job goes on with the next one
            finished: FinishedJob | None = unpack(payload, FINISHED)
            if finished is not None:
                return finished

    async def cancel(self, job: JobId, /) -> CancelOutcome:
        way = await self._way_to(job)
        if nobody_answers(way):
            await self._commands.cancel(job)
            return CancelOutcome.REQUESTED
        return CancelOutcome(unpack(await self._ask(way, questions.JOB_CANCEL, job), str))

    async def replay(self, job: JobId, /) -> JobHandle[Any]:
        way = await self._way_to(job)
        if nobody_answers(way):
            return JobHandle(await self._commands.replay(job), False, self, ANYTHING)
        payload = await self._ask(way, questions.JOB_REPLAY, job, repeatable=False)
        return JobHandle(int(unpack(payload, str)), False, self, ANYTHING)

    async def discard(self, job: JobId, /) -> None:
        way = await self._way_to(job)
        if nobody_answers(way):
            await self._commands.discard(job)
        else:
            await self._ask(way, questions.JOB_DISCARD, job, repeatable=False)

    async def dead_letters(
        self, *, limit: int = 100, after: JobId | None = None, job_type: str | None = None
    ) -> list[DeadLetter]:
        asked = pack(AskDeadLetters(limit, None if after is None else str(after), job_type))
        way = self._links.anyone
        return unpack(
            await self._asker.question(way, questions.JOB_DEAD_LETTERS, asked, self._timeout_s), list[DeadLetter]
        )

    async def _ask(self, way: Way, service: str, job: JobId, *, repeatable: bool = True) -> bytes:
        asked = pack(AskJob(str(job), self._leavings.left))
        return await self._asker.question(way, service, asked, self._timeout_s, repeatable=repeatable)

    async def _way_to(self, job: JobId) -> Way:
        """To the owner of the job, where somebody knows it; else to anyone, who will say that nobody does.

        Raises JobNotFound for what can't be a job's id.
        """
        shard = await self._whereabouts.job(job_number(job))
        return self._links.anyone if shard is None else lambda: self._links.toward(shard)

    # Submitting.

    async def _submit(self, calls: Sequence[JobCall[R]]) -> list[JobHandle[R]]:
        """Stores the jobs at their owners, or in the inbox."""
        for call in calls:
            self._check(call)
        await self._places.known()
        numbered = [(await self._ids.take(), call) for call in calls]
        submitted = await self._store(numbered, perf_counter() + self._timeout_s)
        return [
            JobHandle(number, None, self, call.result)
            if (found := submitted.get(number)) is None
            else JobHandle(found.id, found.duplicate, self, call.result)
            for number, call in numbered
        ]

    async def _store(self, jobs: Sequence[Numbered], deadline: float) -> dict[int, Submitted]:
        """By the ids chosen here; what is not among them is in the inbox."""
        found: dict[int, Submitted] = {}
        again: list[Again] = [Again(jobs, retry=False)]
        while again:
            tries = [
                self._store_at(link, some, deadline, part.retry)
                for part in again
                for link, some in self._by_owner(part.jobs)
            ]
            again = []
            for answer in await _all_of(tries):
                if isinstance(answer, Again):
                    again.append(answer)
                else:
                    found |= answer
        return found

    def _by_owner(self, jobs: Iterable[Numbered]) -> list[tuple[Link, list[Numbered]]]:
        found: dict[int, tuple[Link, list[Numbered]]] = {}
        for number, call in jobs:
            link = self._links.toward(self._shard_of(number, call))
            found.setdefault(id(link), (link, []))[1].append((number, call))
        return list(found.values())

    def _shard_of(self, number: int, call: JobCall[Any]) -> int:
        return self._places.of_job(number, call.job_type, call.rules.key, call.rules.group)

    async def _store_at(
        self, link: Link, jobs: list[Numbered], deadline: float, retry: bool
    ) -> dict[int, Submitted] | Again:
        """One try at one owner."""
        link.open()
        peer, left_s = link.peer, deadline - perf_counter()
        if peer is None and link.unreachable:
            await self._leave(jobs)
            return {}
        if left_s <= 0:
            raise SendTimeout(f"no runner stored the job within {self._timeout_s:g} s: {link.why}")
        if peer is None:
            await self._asker.pause(min(left_s, UNREACHED_PAUSE_S))
            return Again(jobs, retry)
        orders = tuple(order_of(call, number) for number, call in jobs)
        after = self._leavings.left_in({self._shard_of(number, call) for number, call in jobs})
        request = Request(0, questions.SUBMIT_JOBS, pack(Orders(orders, retry, after)), micros(left_s))
        try:
            reply = await peer.call(request)
        except NOT_EXECUTED:
            await self._asker.pause(min(left_s, REFUSED_PAUSE_S))
            return Again(jobs, retry)
        except (RpcClientError, FencedOut):
            return Again(jobs, retry=True)
        assert isinstance(reply, Result), "a question is answered with a result"
        stored = unpack(reply.payload, list[Submitted])
        return {number: one for (number, _), one in zip(jobs, stored, strict=True)}

    async def _leave(self, jobs: Iterable[Numbered]) -> None:
        now_us = self._clock.now_us()
        rows = [job_row(call, number, self._shard_of(number, call), now_us, self._settings) for number, call in jobs]
        await asyncio.gather(*(self._leavings.leave(row.id, row.shard, row) for row in rows))

    def _check(self, call: JobCall[Any]) -> None:
        if len(call.payload) > self._settings.payload_bytes_max:
            raise JobInvalid(
                f"the arguments of {call.job_type} take {len(call.payload)} bytes, more than the "
                f"{self._settings.payload_bytes_max} of jobs.payload_bytes_max; store them elsewhere and pass a name"
            )


async def _all_of(tries: Sequence[Awaitable[T]]) -> Sequence[T]:
    """Raises what one of them raised, after all of them have ended."""
    if len(tries) == 1:
        return [await tries[0]]
    answers: list[T] = []
    for answer in await asyncio.gather(*tries, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return answers


FINISHED: Any = FinishedJob | None
