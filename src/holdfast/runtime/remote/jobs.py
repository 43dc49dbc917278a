"""Jobs from a client: submits under ids that the client chose, and questions about jobs, over the connection.

A submit whose answer was lost is sent again under the same id, which its owner looks up; so it is stored once. Where no
runner answers, jobs go into the inbox, and whether they are duplicates is decided when a runner takes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

from holdfast.errors import (
    FencedOut,
    JobInvalid,
    JobNotFound,
    RpcClientError,
    RunnerUnavailable,
    SendTimeout,
    UsageError,
)
from holdfast.jobs.call import JobCall, shard_of_job
from holdfast.jobs.door import CancelOutcome, DeadLetter, FinishedJob, JobStatus
from holdfast.jobs.handle import JobHandle
from holdfast.kit.clock import Clock
from holdfast.kit.hashing import payload_hash
from holdfast.kit.ids import IdPool
from holdfast.model.envelope import Request, Result
from holdfast.model.ids import JobId, micros
from holdfast.model.job import JobRow
from holdfast.runtime import questions
from holdfast.runtime.questions import ANYTHING, AskDeadLetters, AskJob, Orders, Submitted, order_of, pack, unpack
from holdfast.settings import JobSettings, Settings

from .inbox import Leavings
from .link import NOT_EXECUTED, RunnerLink

R = TypeVar("R")

CHUNK_JOBS = 128
"""Jobs of one `submit_many` that commit together."""
POLL_S = 20.0
"""Seconds for which the runner is asked to wait for a job's end; who waits longer asks again."""
PAUSE_S = 0.05


class RemoteJobs:
    """Implements `jobs.door.JobDoor` for a process that hosts nothing."""

    def __init__(
        self,
        *,
        link: RunnerLink,
        inbox: Leavings,
        ids: IdPool,
        shards: Callable[[], Awaitable[int]],
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._link = link
        self._inbox = inbox
        self._ids = ids
        self._shards = shards
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
        return unpack(await self._ask(questions.JOB_STATUS, job), JobStatus)

    async def wait(self, job: JobId, /, *, timeout: float | None = None) -> FinishedJob:
        deadline = None if timeout is None else perf_counter() + timeout
        while True:
            left_s = POLL_S if deadline is None else min(POLL_S, deadline - perf_counter())
            if left_s <= 0:
                raise TimeoutError(f"job {job} had not ended after {timeout:g} s")
            asked = AskJob(str(job), self._inbox.left, micros(left_s))
            try:
                payload = await self._link.question(questions.JOB_WAIT, pack(asked), left_s + 1.0)
            except (RunnerUnavailable, SendTimeout):
                continue  # no runner for the moment: the job goes on with the next one
            finished: FinishedJob | None = unpack(payload, FINISHED)
            if finished is not None:
                return finished

    async def cancel(self, job: JobId, /) -> CancelOutcome:
        return CancelOutcome(unpack(await self._ask(questions.JOB_CANCEL, job), str))

    async def replay(self, job: JobId, /) -> JobHandle[Any]:
        payload = await self._ask(questions.JOB_REPLAY, job, repeatable=False)
        return JobHandle(int(unpack(payload, str)), False, self, ANYTHING)

    async def discard(self, job: JobId, /) -> None:
        await self._ask(questions.JOB_DISCARD, job, repeatable=False)

    async def dead_letters(
        self, *, limit: int = 100, after: JobId | None = None, job_type: str | None = None
    ) -> list[DeadLetter]:
        asked = AskDeadLetters(limit, None if after is None else str(after), job_type)
        payload = await self._link.question(questions.JOB_DEAD_LETTERS, pack(asked), self._timeout_s)
        return unpack(payload, list[DeadLetter])

    async def _ask(self, service: str, job: JobId, *, repeatable: bool = True) -> bytes:
        if not str(job).isascii():
            raise JobNotFound(f"no job has the id {str(job)[:40]!r}")
        asked = pack(AskJob(str(job), self._inbox.left))
        return await self._link.question(service, asked, self._timeout_s, repeatable=repeatable)

    async def _submit(self, calls: Sequence[JobCall[R]]) -> list[JobHandle[R]]:
        """Stores the jobs together: at the runner, or in the inbox."""
        for call in calls:
            self._check(call)
        numbers = [await self._ids.take() for _ in calls]
        submitted = await self._order(calls, numbers)
        if submitted is None:
            return [JobHandle(number, None, self, call.result) for number, call in zip(numbers, calls, strict=True)]
        return [JobHandle(one.id, one.duplicate, self, call.result) for one, call in zip(submitted, calls, strict=True)]

    async def _order(self, calls: Sequence[JobCall[Any]], numbers: Sequence[int]) -> list[Submitted] | None:
        """None where they are in the inbox."""
        orders = tuple(order_of(call, number) for call, number in zip(calls, numbers, strict=True))
        deadline, retry = perf_counter() + self._timeout_s, False
        while True:
            left_s = deadline - perf_counter()
            peer = self._link.peer or (None if self._link.unreachable else await self._link.reached(left_s))
            if peer is None and self._link.unreachable:
                await self._leave(calls, numbers)
                return None
            left_s = deadline - perf_counter()
            if left_s <= 0:
                raise SendTimeout(f"no runner stored the job within {self._timeout_s:g} s: {self._link.why}")
            if peer is None:
                continue
            request = Request(0, questions.SUBMIT_JOBS, pack(Orders(orders, retry)), micros(left_s))
            try:
                reply = await peer.call(request)
            except NOT_EXECUTED:
                await asyncio.sleep(min(PAUSE_S, left_s))
            except (RpcClientError, FencedOut):
                retry = True
            else:
                assert isinstance(reply, Result), "a question is answered with a result"
                return unpack(reply.payload, list[Submitted])

    async def _leave(self, calls: Sequence[JobCall[Any]], numbers: Sequence[int]) -> None:
        shards, now_us = await self._shards(), self._clock.now_us()
        rows = [_row(call, number, shards, now_us, self._settings) for call, number in zip(calls, numbers, strict=True)]
        await asyncio.gather(*(self._inbox.leave(row.id, row.shard, row) for row in rows))

    def _check(self, call: JobCall[Any]) -> None:
        if call.rules.tx is not None:
            raise UsageError("`tx=` writes through a PostgreSQL connection; this store is embedded")
        if len(call.payload) > self._settings.payload_bytes_max:
            raise JobInvalid(
                f"the arguments of {call.job_type} take {len(call.payload)} bytes, more than the "
                f"{self._settings.payload_bytes_max} of jobs.payload_bytes_max; store them elsewhere and pass a name"
            )


FINISHED: Any = FinishedJob | None


def _row(call: JobCall[Any], number: int, shards: int, now_us: int, settings: JobSettings) -> JobRow:
    """The job as it waits in the inbox; who admits it is left open (0)."""
    rules = call.rules
    due_at = now_us + rules.delay_us if rules.delay_us else rules.at_us if rules.at_us > now_us else 0
    return JobRow(
        number,
        shard_of_job(number, call.job_type, rules, shards),
        call.job_type,
        rules.priority,
        call.payload,
        b"" if rules.key is None else payload_hash(call.payload),
        rules.key,
        rules.group,
        rules.max_attempts or settings.max_attempts,
        rules.timeout_us or micros(settings.timeout),
        due_at,
        due_at or now_us,
        0,
        0,
        None,
        now_us,
        0,
        None,
        None,
    )
