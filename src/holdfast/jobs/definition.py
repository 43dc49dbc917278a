"""Declaring jobs: what a decorator makes of a function.

A `Job` is called directly like the function it was made of, or submitted. It finds its door late: an App or Module sets
`door` and `run_blocking` when it takes the job in, and only a running node has a door to give.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from holdfast.errors import JobInvalid, NotStarted
from holdfast.model.job import PRIORITIES, PRIORITY_RANK, Priority
from holdfast.model.placement import DEFAULT_GROUP

from .call import JobCall, SubmitRules, checked_name, delay_us, due_at_us
from .door import BlockingDoor, JobDoor, SideDoor
from .handle import JobHandle
from .job_type import Executor, JobOptions, JobType, Lane

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _no_door() -> JobDoor:
    raise NotStarted("this job's App is not running here: use `async with app.runner():` or `async with app.client():`")


def _no_blocking_door(_make: Callable[[], Coroutine[Any, Any, T]], /) -> T:
    raise NotStarted("this job belongs to no App or Module yet, so there is nothing that could run a blocking call")


def _no_side_door() -> SideDoor:
    raise NotStarted("this job belongs to no App yet, so nothing is known of the store that `tx=` is to write to")


class SyncJob(Generic[P, R]):
    """The blocking twin of a job."""

    __slots__ = ("_job", "_rules")

    def __init__(self, job: Job[P, R], rules: SubmitRules) -> None:
        self._job = job
        self._rules = rules

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """As the awaited submit; without `tx` BlockingCallOnLoop is raised on a thread that runs an event loop."""
        call = self._job.encoded(self._rules, args, kwargs)
        if self._rules.tx is not None:
            return self._job.side_door().submit_blocking(call)
        return self._job.run_blocking(lambda: self._job.door().submit(call))


class BoundJob(Generic[P, R]):
    """A job with options; its arguments come with `submit` or `call`."""

    __slots__ = ("_rules", "job")

    def __init__(self, job: Job[P, R], rules: SubmitRules) -> None:
        self.job = job
        self._rules = rules

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, JobHandle[R]]:
        """Returns once the job is on disk; inside a handler it commits with the handler.

        With `tx` it is on disk once that connection's transaction is committed. Raises MalformedMessage for wrong
        arguments, JobInvalid, JobKeyConflict and PersistenceError.
        """
        call = self.job.encoded(self._rules, args, kwargs)
        return self.job.door().submit(call) if self._rules.tx is None else self.job.side_door().submit(call)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> JobCall[R]:
        """A submit for `submit_many`. Raises MalformedMessage for wrong arguments."""
        return self.job.encoded(self._rules, args, kwargs)

    @property
    def sync(self) -> SyncJob[P, R]:
        return SyncJob(self.job, self._rules)


class Job(Generic[P, R]):
    """A declared job."""

    def __init__(self, declared: JobType) -> None:
        self.declared = declared
        self.door: Callable[[], JobDoor] = _no_door
        self.side_door: Callable[[], SideDoor] = _no_side_door
        self.run_blocking: BlockingDoor = _no_blocking_door
        self.__name__ = declared.name
        self.__doc__ = declared.function.__doc__
        self.__wrapped__ = declared.function
        self._rules = SubmitRules(
            priority=declared.priority, max_attempts=declared.max_attempts, timeout_us=declared.timeout_us
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Runs the function here and now, as if it had not been declared; a sync one in its thread."""
        function = self.declared.function
        if self.declared.is_async:
            return cast("Coroutine[Any, Any, R]", function(*args, **kwargs))
        if self.declared.lane is Lane.THREAD:
            return cast("Coroutine[Any, Any, R]", asyncio.to_thread(function, *args, **kwargs))
        return _at_once(function, args, kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, JobHandle[R]]:
        """Returns once the job is on disk; inside a handler it commits with the handler.

        Raises MalformedMessage for wrong arguments, JobInvalid and PersistenceError.
        """
        return self.door().submit(self.encoded(self._rules, args, kwargs))

    def call(self, *args: P.args, **kwargs: P.kwargs) -> JobCall[R]:
        """A submit for `submit_many`. Raises MalformedMessage for wrong arguments."""
        return self.encoded(self._rules, args, kwargs)

    def opts(
        self,
        *,
        priority: Priority | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        key: str | None = None,
        group: str | None = None,
        tx: object | None = None,
        detached: bool = False,
    ) -> BoundJob[P, R]:
        """The same job with options.

        `delay`: seconds. `at`: an aware datetime. `key`: idempotency key, unique per job type and `group`.
        `detached`: inside a handler, do not join its transaction. `tx`: the caller's own connection to the store's
        database, through whose transaction the job is submitted. Raises JobInvalid for what can't be.
        """
        if delay is not None and at is not None:
            raise JobInvalid(f"give `at` or a `delay`, not delay={delay!r} and at={at!r}")
        if priority is not None and priority not in PRIORITY_RANK:
            raise JobInvalid(f"a priority is one of {PRIORITIES}, not {priority!r}")
        rules = dataclasses.replace(
            self._rules,
            priority=self._rules.priority if priority is None else PRIORITY_RANK[priority],
            delay_us=delay_us(delay),
            at_us=due_at_us(at),
            key=checked_name("key", key),
            group=checked_name("group", group),
            tx=tx,
            detached=detached,
        )
        return BoundJob(self, rules)

    @property
    def sync(self) -> SyncJob[P, R]:
        return SyncJob(self, self._rules)

    def encoded(self, rules: SubmitRules, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobCall[R]:
        """The submit of these arguments. Raises MalformedMessage for wrong ones."""
        declared = self.declared
        return JobCall(declared.name, declared.signature.encode(args, kwargs), rules, declared.signature.result)

    def __repr__(self) -> str:
        return f"<job type {self.declared.name}>"


async def _at_once(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


class JobDecorator(Protocol):
    """What `app.job(...)` returns."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Job[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Job[P, R]: ...


def declare_job(
    fn: Callable[..., Any],
    *,
    priority: Priority = "normal",
    max_attempts: int | None = None,
    timeout: float | None = None,
    executor: Executor | None = None,
    retry_on: tuple[type[Exception], ...] = (Exception,),
    give_up_on: tuple[type[Exception], ...] = (),
    name: str | None = None,
    group_limit: int = 1,
    shard_group: str = DEFAULT_GROUP,
) -> Job[..., Any]:
    """Makes a job of a function.

    `timeout`: seconds one attempt may take. `executor`: "loop", "thread" or "process"; without it an `async def` runs
    on the loop and a `def` in a thread. `group_limit`: how many jobs of one group run at the same time. `shard_group`:
    only runners of this group run the job. An error of `give_up_on`, or of none in `retry_on`, is not retried. `name`:
    what stored jobs are found by, if the function's name is not to be the contract. Raises ConfigurationError.
    """
    options = JobOptions(
        priority=priority,
        max_attempts=max_attempts,
        timeout=timeout,
        executor=executor,
        retry_on=retry_on,
        give_up_on=give_up_on,
        name=name,
        group_limit=group_limit,
        shard_group=shard_group,
    )
    return Job(JobType(fn, options))
