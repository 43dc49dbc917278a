"""A schedule is an entity: its state says how far it has come, and a durable timer wakes it at the next occurrence.

Everything that makes an entity hard to lose makes a schedule so. One commit consumes the timer, sets the next one, says
how far the schedule has come and stores the job: an occurrence fires once, whoever owns the shard, and a runner that
dies in between leaves the timer to the next owner. What is to run stands in the code: an owner that does not know the
schedule fires nothing.

Occurrences that came due while nobody ran, or that met the job before them, are counted as missed, all but the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.entities.definition import message
from holdfast.entities.entity import Entity
from holdfast.entities.entity_type import EntityOptions, EntityType
from holdfast.errors import JobNotFound, NotStarted, ScheduleNotFound
from holdfast.jobs.call import JobCall
from holdfast.jobs.door import JobDoor
from holdfast.kit.clock import Clock, SystemClock
from holdfast.metrics import MetricsService
from holdfast.model.ids import JobId, micros
from holdfast.model.job import TERMINAL
from holdfast.model.told import COUNT_MAX
from holdfast.ports.turn import current_turn

from .cron import moment
from .definition import DeclaredSchedule
from .due import due

SCHEDULE_TYPE = "holdfast.schedule"
TIMER = "occurrence"
QUEUE_LOOK_US = micros(2.0)
"""How often an occurrence that waits looks whether the job before it has ended."""
EVER = COUNT_MAX
"""Tries of an occurrence: a schedule never dies of a store or a runner that is away."""

Reason = Literal["late", "overlap"]


@dataclass
class ScheduleState:
    """How far a schedule has come. Moments are microseconds since the epoch; 0 is none."""

    cron: str = ""
    tz: str = "UTC"
    job_type: str = ""
    paused: bool = False
    settled_until: int = 0
    """Occurrences up to here have fired or were missed."""
    next_at: int = 0
    """When the timer is set for."""
    last_at: int = 0
    """The occurrence that fired last."""
    last_job: str = ""
    missed: int = 0


class Scheduling:
    """What the schedules of one App share: their declarations, and how they reach jobs, the clock and the metrics."""

    def __init__(self, declared: Mapping[str, DeclaredSchedule], metrics: MetricsService) -> None:
        self.declared = declared
        self.metrics = metrics
        self.clock: Clock = SystemClock()
        self._jobs: JobDoor | None = None

    def opened(self, *, jobs: JobDoor, clock: Clock) -> None:
        """On a runner, before anything is delivered."""
        self._jobs, self.clock = jobs, clock

    @property
    def jobs(self) -> JobDoor:
        """Raises NotStarted where no runner is open."""
        if self._jobs is None:
            raise NotStarted("schedules are served by a runner only")
        return self._jobs


class Schedule(Entity[ScheduleState]):
    """One schedule; its id is the schedule's name."""

    scheduling: ClassVar[Scheduling]

    @message
    async def declare(self) -> None:
        """The owner of this shard says what its code declares; sets the timer."""
        declared, state = self._declared(), self.state
        cron = declared.cron
        if (state.cron, state.tz) != (cron.expression, cron.tz):
            state.settled_until, state.next_at = self.scheduling.clock.now_us(), 0
        state.cron, state.tz, state.job_type = cron.expression, cron.tz, declared.call.job_type
        if not state.next_at:
            await self._set_timer()

    @message(durable=True, max_deliveries=EVER)
    async def occur(self) -> None:
        """The timer: its moment has come."""
        state, declared = self.state, self.scheduling.declared.get(self.id)
        if declared is None or state.paused:
            state.next_at = 0
            return
        now_us = max(self.scheduling.clock.now_us(), state.next_at)
        found = due(declared.cron, after=state.settled_until, until=now_us)
        state.settled_until = found.settled_until
        if not found.newest:
            self._missed("late", found.older)
            await self._set_timer()
        elif declared.skip_after_us and now_us - found.newest > declared.skip_after_us:
            self._missed("late", found.older + 1)
            await self._set_timer()
        else:
            await self._fire_or_wait(declared, found.newest, found.older, now_us)

    @message(durable=True, errors=(ScheduleNotFound,))
    async def pause(self) -> None:
        """Nothing fires until `resume`; what would have fired meanwhile is not missed."""
        self._known()
        self.state.paused = True
        self.state.next_at = 0
        await self.cancel_timer(TIMER)

    @message(durable=True, errors=(ScheduleNotFound,))
    async def resume(self) -> None:
        """From now on occurrences fire again."""
        self._known()
        if self.state.paused:
            self.state.paused = False
            self.state.settled_until = self.scheduling.clock.now_us()
            await self._set_timer()

    @message(durable=True, dedupe="request", errors=(ScheduleNotFound,))
    async def run(self, request: str) -> str:
        """Submits the job now, whatever else is running, once per request; returns its id."""
        return await self._submit(self._declared().call_for(request))

    @message(readonly=True)
    async def look(self) -> ScheduleState:
        """How far it has come."""
        return self.state

    async def _fire_or_wait(self, declared: DeclaredSchedule, at_us: int, older: int, now_us: int) -> None:
        live = declared.overlap != "allow" and await self._is_live(self.state.last_job)
        if live and declared.overlap == "queue":
            self._missed("overlap", older)
            self.state.settled_until = at_us - 1  # it is due still
            await self._set_timer(now_us + QUEUE_LOOK_US)
            return
        if live:
            self._missed("overlap", 1)
        else:
            self.state.last_at = at_us
            await self._submit(declared.call_at(at_us))
        self._missed("late", older)
        await self._set_timer()

    async def _submit(self, call: JobCall[object]) -> str:
        job = await self.scheduling.jobs.submit(call)
        self.state.last_job = job.id
        return job.id

    async def _is_live(self, job: str) -> bool:
        if not job:
            return False
        try:
            status = await self.scheduling.jobs.status(JobId(job))
        except JobNotFound:
            return False
        return status.state not in TERMINAL

    async def _set_timer(self, at_us: int = 0) -> None:
        state, declared = self.state, self._declared()
        if state.paused:
            return
        state.next_at = at_us or declared.cron.next(state.settled_until)
        await self.occur.opts(name=TIMER, at=moment(state.next_at)).send()

    def _missed(self, reason: Reason, count: int) -> None:
        turn = current_turn.get()
        if not count or turn is None:
            return
        self.state.missed += count
        missed = self.scheduling.metrics.jobs.schedule_missed.labels(schedule=self.id, reason=reason)
        turn.after_commit(lambda: missed.inc(count))

    def _declared(self) -> DeclaredSchedule:
        declared = self.scheduling.declared.get(self.id)
        if declared is None:
            raise ScheduleNotFound(f"no schedule {self.id!r} is declared where it would run")
        return declared

    def _known(self) -> None:
        if not self.state.cron:
            raise ScheduleNotFound(f"there is no schedule {self.id!r}")


def schedule_type(scheduling: Scheduling) -> EntityType:
    """The entity type of one App's schedules."""
    return EntityType(type("Schedule", (Schedule,), {"scheduling": scheduling}), EntityOptions(name=SCHEDULE_TYPE))
