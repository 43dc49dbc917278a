"""All that the engine knows of a job type: the function, its codec, and what its decorator was told."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Callable
from typing import Any, Literal

from holdfast.errors import ConfigurationError
from holdfast.model.ids import micros
from holdfast.model.job import PRIORITIES, PRIORITY_RANK, Priority
from holdfast.model.placement import DEFAULT_GROUP
from holdfast.model.signature import by_position, signature_of
from holdfast.model.told import told_count, told_name, told_seconds

Executor = Literal["loop", "thread", "process"]
EXECUTORS: tuple[Executor, ...] = typing.get_args(Executor)


class Lane(enum.IntEnum):
    """Where attempts of a type run; each lane has slots of its own."""

    LOOP = 0
    THREAD = 1
    PROCESS = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What `app.job(...)` was told; None leaves the choice to the settings. `timeout` is seconds per attempt.

    `group_limit` jobs of one group run at the same time. `shard_group`: whose runners own and run these jobs.
    """

    priority: Priority = "normal"
    max_attempts: int | None = None
    timeout: float | None = None
    executor: Executor | None = None
    retry_on: tuple[type[Exception], ...] = (Exception,)
    give_up_on: tuple[type[Exception], ...] = ()
    name: str | None = None
    group_limit: int = 1
    shard_group: str = DEFAULT_GROUP


class JobType:
    """One declared job type. Its name is a contract with the store: stored jobs are found by it."""

    __slots__ = (
        "_call",
        "function",
        "give_up_on",
        "group_limit",
        "is_async",
        "lane",
        "max_attempts",
        "name",
        "priority",
        "retry_on",
        "shard_group",
        "signature",
        "timeout_us",
    )

    def __init__(self, function: Callable[..., Any], options: JobOptions) -> None:
        """Raises ConfigurationError for options that can't be, or parameters that can't be encoded."""
        self.function = function
        own_name = function.__qualname__.rpartition("<locals>.")[2]
        self.name = told_name(f"job {own_name}", own_name if options.name is None else options.name)
        self.is_async = inspect.iscoroutinefunction(function)
        self.lane = _lane(self.name, options.executor, self.is_async)
        if self.lane is Lane.PROCESS:
            _check_importable(self.name, function)
        self.priority = _rank(self.name, options.priority)
        self.max_attempts = told_count(f"job {self.name}: max_attempts", options.max_attempts) or 0
        self.timeout_us = micros(told_seconds(f"job {self.name}: timeout", options.timeout) or 0)
        self.retry_on = options.retry_on
        self.give_up_on = options.give_up_on
        self.group_limit = told_count(f"job {self.name}: group_limit", options.group_limit)
        self.shard_group = told_name(f"job {self.name}: a shard group", options.shard_group)
        self.signature = signature_of(function, name=self.name, skip_first=False)
        self._call = by_position(function)

    def call(self, arguments: tuple[Any, ...]) -> Any:
        """Calls the function with all its arguments in the order of its parameters."""
        return self._call(*arguments)


def _lane(name: str, executor: Executor | None, is_async: bool) -> Lane:
    match executor:
        case None:
            return Lane.LOOP if is_async else Lane.THREAD
        case "loop":
            return Lane.LOOP
        case "thread":
            if is_async:
                raise ConfigurationError(f"job {name}: only a sync function (`def`) can run in a thread")
            return Lane.THREAD
        case "process":
            return Lane.PROCESS
        case _:
            # Unreachable for checked code; a string from a config file comes here.
            raise ConfigurationError(f"job {name}: executor is one of {EXECUTORS}, not {_unknown(executor)!r}")


def _check_importable(name: str, function: Callable[..., Any]) -> None:
    """A process of its own finds its handler as an import would."""
    if "<" in function.__qualname__:
        raise ConfigurationError(
            f"job {name}: a process of its own can't import {function.__module__}:{function.__qualname__}; "
            "define the handler at the top of its module"
        )


def _unknown(value: object) -> object:
    return value


def _rank(name: str, priority: Priority) -> int:
    rank = PRIORITY_RANK.get(priority)
    if rank is None:
        raise ConfigurationError(f"job {name}: priority is one of {PRIORITIES}, not {priority!r}")
    return rank
