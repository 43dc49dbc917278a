"""Collecting declarations: what `@app.entity`, `@app.job` and their `Module` twins do.

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
from holdfast.jobs.definition import Job, JobDecorator, declare_job
from holdfast.jobs.job_type import Executor
from holdfast.model.job import Priority

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=Entity[Any])


class EntityDecorator(Protocol):
    """What `app.entity(...)` returns."""

    def __call__(self, cls: type[E], /) -> type[E]: ...


class Declarations:
    """Entities and jobs by name, with the decorators that declare them."""

    def __init__(self) -> None:
        self.entity_types: dict[type[Any], EntityType] = {}
        self.job_types: dict[str, Job[..., Any]] = {}

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
    ) -> JobDecorator: ...
    def job(self, *functions: Any, **options: Any) -> Any:
        """Declares a job type; the options are those of `holdfast.jobs.definition.declare_job`."""
        if functions:
            (fn,) = functions
            return self._declare_job(fn)
        return partial(self._declare_job, **options)

    def include(self, other: Declarations) -> None:
        """Takes in what another collection declared. Raises ConfigurationError for a name declared twice."""
        for declared in other.entity_types.values():
            self._add_entity(declared)
        for job in other.job_types.values():
            self._add_job(job)

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


class Module(Declarations):
    """Declares entities and jobs away from the App, against import circles; the App includes it."""
