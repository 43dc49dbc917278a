"""Declaring a schedule: which job, when, and what to do where a run comes late or meets the one before it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast, get_args

import msgspec

from holdfast.errors import ConfigurationError, HoldfastError
from holdfast.jobs.call import JobCall, SubmitRules
from holdfast.jobs.definition import BoundJob, Job
from holdfast.model.address import checked_entity_id
from holdfast.model.ids import micros
from holdfast.model.told import told_seconds

from .cron import Cron, moment

Overlap = Literal["skip", "queue", "allow"]
OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)

NAME_CHARS_MAX = 200
"""Leaves room in an idempotency key for the occurrence."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSchedule:
    """One schedule as the code has it. `skip_after_us` 0 fires however late it is."""

    name: str
    cron: Cron
    call: JobCall[Any]
    skip_after_us: int
    overlap: Overlap

    def call_at(self, at_us: int) -> JobCall[Any]:
        """The submit of one occurrence: its key makes it the same job however often it is made."""
        return self._keyed(f"{moment(at_us):%Y-%m-%dT%H:%M:%SZ}")

    def call_for(self, request: str) -> JobCall[Any]:
        """The submit that an operator asked for."""
        return self._keyed(f"run/{request}")

    def _keyed(self, what: str) -> JobCall[Any]:
        rules = dataclasses.replace(self.call.rules, key=f"schedule/{self.name}/{what}")
        return msgspec.structs.replace(self.call, rules=rules)


def declare_schedule(
    name: str,
    what: object,
    *,
    cron: str,
    tz: str = "UTC",
    skip_if_older_than: float | None = None,
    overlap: Overlap = "skip",
) -> DeclaredSchedule:
    """Makes a schedule of `job.call(...)`, or of a job that needs no arguments. Raises ConfigurationError.

    `tz`: the zone whose clock on the wall is meant. `skip_if_older_than`: seconds by which an occurrence may come late,
    because nobody ran, before it is given up; without it the newest one that was missed fires however late. `overlap`:
    what becomes of an occurrence while the job of the one before it is still live: "skip" gives it up, "queue" lets
    one, the newest, wait, "allow" does not ask.
    """
    if overlap not in OVERLAPS:
        raise ConfigurationError(f"schedule {name!r}: overlap is one of {OVERLAPS}, not {overlap!r}")
    skip_after_s = told_seconds(f"schedule {name!r}: skip_if_older_than", skip_if_older_than)
    return DeclaredSchedule(
        name=_checked_name(name),
        cron=Cron(cron, tz),
        call=_checked_call(name, what),
        skip_after_us=micros(skip_after_s or 0),
        overlap=overlap,
    )


def _checked_name(name: object) -> str:
    try:
        checked = checked_entity_id(name)
    except HoldfastError as error:
        raise ConfigurationError(f"{name!r} can't name a schedule: {error}") from None
    if len(checked) > NAME_CHARS_MAX:
        raise ConfigurationError(f"a schedule's name has at most {NAME_CHARS_MAX} characters, not {len(checked)}")
    return checked


def _checked_call(name: str, what: object) -> JobCall[Any]:
    call = _call_of(name, what)
    rules = call.rules
    if rules != SubmitRules(
        priority=rules.priority, max_attempts=rules.max_attempts, timeout_us=rules.timeout_us, group=rules.group
    ):
        raise ConfigurationError(f"schedule {name!r}: it decides when and under which key its job is submitted")
    return call


def _call_of(name: str, what: object) -> JobCall[Any]:
    if isinstance(what, JobCall):
        return what  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(what, Job | BoundJob):
        raise ConfigurationError(
            f"schedule {name!r}: give job.call(...), or put @app.cron above @app.job, not {what!r}"
        )
    try:
        return cast("Job[..., Any]", what).call()
    except HoldfastError as error:
        raise ConfigurationError(f"schedule {name!r}: its job needs arguments, give job.call(...): {error}") from None
