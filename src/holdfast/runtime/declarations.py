"""Collecting declarations: what `@app.entity`, `@app.job`, `@app.cron`, `@app.singleton` and their `Module` twins do.

Declaring opens nothing. A Module's declarations join the App that includes it; what both declare under one name is
refused, because names are how stored messages and jobs find their code.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from holdfast.entities.entity import Entity
from holdfast.entities.entity_type import EntityOptions, EntityType
from holdfast.errors import ConfigurationError
from holdfast.jobs.call import JobCall
from holdfast.jobs.definition import BoundJob, Job, JobDecorator, declare_job
from holdfast.jobs.job_type import Executor
from holdfast.model.job import Priority
from holdfast.schedules.definition import DeclaredSchedule, Overlap, declare_schedule
from holdfast.singletons.definition import DeclaredSingleton, Singleton, SingletonDecorator, SingletonFunction

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=Entity[Any])
F = TypeVar("F", bound=SingletonFunction)
G = TypeVar("G", bound=Singleton[Any])
J = TypeVar("J", bound=Job[..., Any])


class EntityDecorator(Protocol):
    """What `app.entity(...)` returns."""

    def __call__(self, cls: type[E], /) -> type[E]: ...


class CronDecorator(Protocol):
    """What `app.cron(...)` returns."""

    def __call__(self, job: J, /) -> J: ...


class Declarations:
    """Entities, jobs, schedules and singletons by name, with the decorators that declare them."""

    def __init__(self) -> None:
        self.entity_types: dict[type[Any], EntityType] = {}
        self.job_types: dict[str, Job[..., Any]] = {}
        self.declared_schedules: dict[str, DeclaredSchedule] = {}
        self.declared_singletons: dict[str, DeclaredSingleton] = {}

    @overload
    def entity(self, cls: type[E], /) -> type[E]: ...
    @overload
    def entity(
        self,
        *,
        name: str | None = ...,
        mailbox: int | None = ...,
        idle_after: float | None = ...,
        keep_alive: bool = ...,
        schema: int = ...,
        shard_group: str = ...,
    ) -> EntityDecorator: ...
    def entity(self, *classes: Any, **options: Any) -> Any:
        """Declares an entity type.

        `mailbox`: messages that may wait in front of one instance. `idle_after`: seconds without a message after
        which an instance leaves memory; `keep_alive` keeps it. `name`: what stored state and messages are found by,
        if the class's name is not to be the contract. `schema`: raise it when the state's shape changes so that older
        versions must not touch it. `shard_group`: entities of one group live only on runners that declare all of its
        types. Raises ConfigurationError.
        """
        if classes:
            (cls,) = classes
            return self._declare_entity(cls, options=EntityOptions())
        return partial(self._declare_entity, options=EntityOptions(**options))

    @overload
    def job(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Job[P, R]: ...
    @overload
    def job(self, fn: Callable[P, R], /) -> Job[P, R]: ...
    @overload
    def job(
        self,
        *,
        priority: Priority = ...,
        max_attempts: int | None = ...,
        timeout: float | None = ...,
        executor: Executor | None = ...,
        retry_on: tuple[type[Exception], ...] = ...,
        give_up_on: tuple[type[Exception], ...] = ...,
        name: str | None = ...,
        group_limit: int = ...,
        shard_group: str = ...,
    ) -> JobDecorator: ...
    def job(self, *functions: Any, **options: Any) -> Any:
        """Declares a job type; the options are those of `holdfast.jobs.definition.declare_job`."""
        if functions:
            (fn,) = functions
            return self._declare_job(fn)
        return partial(self._declare_job, **options)

    def cron(
        self,
        expression: str,
        *,
        tz: str = "UTC",
        name: str | None = None,
        skip_if_older_than: float | None = None,
        overlap: Overlap = "skip",
    ) -> CronDecorator:
        """Submits a job that needs no arguments whenever the expression comes due; stands above `@app.job`.

        `name`: of the schedule, else the job's. The others are those of `schedule`.
        """

        def declare(job: J, /) -> J:
            if not isinstance(job, Job):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"@app.cron stands above @app.job: it takes a job, not {job!r}")
            self.schedule(
                name or job.declared.name,
                job,
                cron=expression,
                tz=tz,
                skip_if_older_than=skip_if_older_than,
                overlap=overlap,
            )
            return job

        return declare

    def schedule(
        self,
        name: str,
        what: JobCall[Any] | Job[[], Any] | BoundJob[[], Any],
        /,
        *,
        cron: str,
        tz: str = "UTC",
        skip_if_older_than: float | None = None,
        overlap: Overlap = "skip",
    ) -> None:
        """Submits `what`, made by `job.call(...)`, whenever the expression comes due; each occurrence once.

        The parameters are those of `holdfast.schedules.definition.declare_schedule`. Raises ConfigurationError.
        """
        self._add_schedule(
            declare_schedule(name, what, cron=cron, tz=tz, skip_if_older_than=skip_if_older_than, overlap=overlap)
        )

    @overload
    def singleton(self, cls: type[G], /) -> type[G]: ...
    @overload
    def singleton(self, fn: F, /) -> F: ...
    @overload
    def singleton(self, *, name: str | None = ..., every: float | None = ...) -> SingletonDecorator: ...
    def singleton(self, *declared: Any, name: str | None = None, every: float | None = None) -> Any:
        """Declares a task that exactly one runner of the cluster runs: an async function, or a `Singleton` class.

        `name`: what its state is found by, if its own name is not to be the contract. `every`: seconds after its end
        at which it runs again; without it a task that returns is over until its shard moves or the runner starts
        anew. One that raises is started again with a growing pause. Raises ConfigurationError.
        """

        def declare(what: Any) -> Any:
            self._add_singleton(DeclaredSingleton(what, name=name, every=every))
            return what

        return declare(*declared) if declared else declare

    def include(self, other: Declarations) -> None:
        """Takes in what another collection declared. Raises ConfigurationError for a name declared twice."""
        for declared in other.entity_types.values():
            self._add_entity(declared)
        for job in other.job_types.values():
            self._add_job(job)
        for schedule in other.declared_schedules.values():
            self._add_schedule(schedule)
        for singleton in other.declared_singletons.values():
            self._add_singleton(singleton)

    def _declare_entity(self, cls: type[Any], /, options: EntityOptions) -> type[Any]:
        if Entity not in getattr(cls, "__mro__", ()):
            raise ConfigurationError(f"{cls!r} is no entity class: derive it from holdfast.Entity")
        self._add_entity(EntityType(cls, options))
        return cls

    def _declare_job(self, fn: Callable[..., Any], /, **options: Any) -> Job[..., Any]:
        job = declare_job(fn, **options)
        self._add_job(job)
        return job

    def _add_entity(self, declared: EntityType) -> None:
        if any(known.name == declared.name for known in self.entity_types.values()):
            raise ConfigurationError(f"the entity type {declared.name!r} is declared twice; give one a `name`")
        self.entity_types[declared.cls] = declared

    def _add_job(self, job: Job[..., Any]) -> None:
        if job.declared.name in self.job_types:
            raise ConfigurationError(f"the job type {job.declared.name!r} is declared twice; give one a `name`")
        self.job_types[job.declared.name] = job

    def _add_schedule(self, schedule: DeclaredSchedule) -> None:
        if schedule.name in self.declared_schedules:
            raise ConfigurationError(f"the schedule {schedule.name!r} is declared twice; give one a `name`")
        self.declared_schedules[schedule.name] = schedule

    def _add_singleton(self, singleton: DeclaredSingleton) -> None:
        if singleton.name in self.declared_singletons:
            raise ConfigurationError(f"the singleton {singleton.name!r} is declared twice; give one a `name`")
        self.declared_singletons[singleton.name] = singleton


class Module(Declarations):
    """Declares all of it away from the App, against import circles; the App includes it."""
