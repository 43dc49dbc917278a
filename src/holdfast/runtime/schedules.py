"""The service `app.schedules`: what an operator does with schedules, by name, from a runner or a client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import uuid4

from holdfast.entities.door import DEFAULTS, Receipt, SendOptions
from holdfast.entities.entity_type import EntityType
from holdfast.errors import ScheduleNotFound
from holdfast.kit.clock import Clock, SystemClock
from holdfast.model.address import Address
from holdfast.model.ids import JobId
from holdfast.schedules.cron import Cron, moment
from holdfast.schedules.definition import DeclaredSchedule
from holdfast.schedules.schedule import SCHEDULE_TYPE, ScheduleState

from .node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatus:
    """One schedule as its owner has it."""

    name: str
    cron: str
    tz: str
    job_type: str
    paused: bool
    next_at: datetime | None
    """When it comes due, or looks again whether the job before has ended; None while it is paused."""
    last_at: datetime | None
    """The occurrence that fired last."""
    last_job: JobId | None
    missed: int
    """Occurrences given up since the schedule was first declared."""


def status_of(name: str, state: ScheduleState) -> ScheduleStatus:
    """The stored state in its public form."""
    return ScheduleStatus(
        name=name,
        cron=state.cron,
        tz=state.tz,
        job_type=state.job_type,
        paused=state.paused,
        next_at=moment(state.next_at) if state.next_at else None,
        last_at=moment(state.last_at) if state.last_at else None,
        last_job=JobId(state.last_job) if state.last_job else None,
        missed=state.missed,
    )


def upcoming(cron: Cron, count: int, *, clock: Clock) -> list[datetime]:
    """The next occurrences, as moments in the schedule's own zone."""
    return [moment(at_us).astimezone(cron.zone) for at_us in islice(cron.after(clock.now_us()), count)]


class ScheduleService:
    """Schedules by name. An unknown name raises ScheduleNotFound."""

    def __init__(
        self, node: Callable[[], Node], schedule_type: EntityType, declared: Mapping[str, DeclaredSchedule]
    ) -> None:
        self._node = node
        self._handlers = schedule_type.handlers
        self._declared = declared

    @property
    def names(self) -> Sequence[str]:
        """Those that this App declares."""
        return sorted(self._declared)

    async def status(self, name: str, /) -> ScheduleStatus:
        """How far the schedule has come."""
        handler = self._handlers["look"]
        state: ScheduleState = await self._node().entities.call(_address(name), handler, (), {}, DEFAULTS)
        if not state.cron:
            raise ScheduleNotFound(f"there is no schedule {name!r}")
        return status_of(name, state)

    async def pause(self, name: str, /) -> None:
        """Nothing fires until `resume`; what would have fired meanwhile is not missed."""
        await self._ask("pause", name)

    async def resume(self, name: str, /) -> None:
        """From now on occurrences fire again."""
        await self._ask("resume", name)

    async def run(self, name: str, /, *, request: str | None = None) -> JobId:
        """Submits the schedule's job now, whatever else is running; once per `request`."""
        return JobId(await self._ask("run", name, request or uuid4().hex))

    async def leave(self, verb: str, name: str, /) -> Receipt[Any]:
        """`pause`, `resume` or `run` one way: on disk on return, also where no runner answers."""
        args = (uuid4().hex,) if verb == "run" else ()
        return await self._node().entities.send(_address(name), self._handlers[verb], args, {}, SendOptions())

    def next(self, name: str, /, *, count: int = 1) -> list[datetime]:
        """The coming occurrences of a schedule that this App declares, as the cron expression has them."""
        declared = self._declared.get(name)
        if declared is None:
            raise ScheduleNotFound(f"this App declares no schedule {name!r}")
        return upcoming(declared.cron, count, clock=SystemClock())

    async def _ask(self, verb: str, name: str, *args: str) -> Any:
        return await self._node().entities.call_durable(_address(name), self._handlers[verb], args, {}, DEFAULTS)


def _address(name: str) -> Address:
    return Address(SCHEDULE_TYPE, name)
