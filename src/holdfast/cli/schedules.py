"""`holdfast schedule`: looking reads the store, as a client would; asking leaves a durable message for the schedule.

So asking works without the App's code, and where no runner answers it waits for one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from holdfast.errors import ConfigurationError, RunnerUnavailable, ScheduleNotFound, SendTimeout
from holdfast.kit.clock import SystemClock
from holdfast.model.address import Address
from holdfast.model.signature import ValueCodec
from holdfast.ports.reads import StoredState
from holdfast.runtime.schedules import ScheduleStatus, status_of, upcoming
from holdfast.schedules.cron import Cron
from holdfast.schedules.schedule import SCHEDULE_TYPE, ScheduleState
from holdfast.storage.urls import masked

from .database import store_named
from .exits import Exit
from .stores import opened, operator

Verb = Literal["pause", "resume", "run"]

PAGE = 500
ANSWER_S = 5.0
"""How long an answer is waited for; the request is on disk by then."""
COUNT_MAX = 1000


def show_schedules(store: str | None, *, as_json: bool) -> Exit:
    """Raises StoreUnavailable for a store that is not there, and SchemaMismatch."""
    found = asyncio.run(_all(store))
    if as_json:
        print(json.dumps({"schedules": [_document(status) for status in found]}))
    else:
        _print(found)
    return Exit.OK


def show_next(store: str | None, name: str, *, count: int, as_json: bool) -> Exit:
    """Raises ScheduleNotFound."""
    if not 0 < count <= COUNT_MAX:
        raise ConfigurationError(f"--count is between 1 and {COUNT_MAX}, not {count}")
    status = asyncio.run(_one(store, name))
    moments = upcoming(Cron(status.cron, status.tz), count, clock=SystemClock())
    if as_json:
        shown = [at.isoformat() for at in moments]
        print(json.dumps({"name": name, "paused": status.paused, "tz": status.tz, "next": shown}))
    else:
        for at in moments:
            print(f"{at:%a %Y-%m-%d %H:%M %Z}")
        if status.paused:
            print("but it is paused")
    return Exit.OK


def ask_schedule(store: str | None, verb: Verb, name: str, *, as_json: bool) -> Exit:
    """Raises ScheduleNotFound."""
    done, job = asyncio.run(_ask(store, verb, name))
    if as_json:
        print(json.dumps({"name": name, "asked": verb, "done": done, "job": job}))
    elif not done:
        print(f"{name}: asked to {verb}; no runner has answered yet, the first that serves it does so")
    else:
        print(f"{name}: submitted as job {job}" if verb == "run" else f"{name}: {verb}d")
    return Exit.OK


async def _ask(store: str | None, verb: Verb, name: str) -> tuple[bool, str | None]:
    await _one(store, name)  # a name that nobody knows is told so at once, with or without a runner
    async with operator(store) as app:
        receipt = await app.schedules.leave(verb, name)
        try:
            return True, await app.cluster.result(receipt, timeout=ANSWER_S)
        except (SendTimeout, RunnerUnavailable):
            return False, None


async def _one(store: str | None, name: str) -> ScheduleStatus:
    async with opened(store) as found:
        stored = await found.messages.state(Address(SCHEDULE_TYPE, name))
    if stored is None:
        raise ScheduleNotFound(f"no runner of {masked(store_named(store))} has declared a schedule {name!r}")
    return _status(name, stored)


async def _all(store: str | None) -> list[ScheduleStatus]:
    found: list[ScheduleStatus] = []
    async with opened(store) as reading:
        read = reading.messages.states_of
        while page := await read(SCHEDULE_TYPE, after=found[-1].name if found else "", limit=PAGE):
            found += [_status(name, stored) for name, stored in page]
    return found


def _status(name: str, stored: StoredState) -> ScheduleStatus:
    state: ScheduleState = ValueCodec(ScheduleState, "schedule").decode(stored.state)
    return status_of(name, state)


def _document(status: ScheduleStatus) -> dict[str, object]:
    """For `--json`. Moments are ISO 8601."""
    return {
        "name": status.name,
        "cron": status.cron,
        "tz": status.tz,
        "job_type": status.job_type,
        "paused": status.paused,
        "next_at": status.next_at and status.next_at.isoformat(),
        "last_at": status.last_at and status.last_at.isoformat(),
        "last_job": status.last_job,
        "missed": status.missed,
    }


def _print(found: Sequence[ScheduleStatus]) -> None:
    from rich.table import Table

    from .consoles import console

    if not found:
        print("no schedules")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("schedule", "cron", "zone", "job type", "next", "last", "last job", "missed"):
        table.add_column(column)
    for one in found:
        coming = "paused" if one.paused else _shown(one.next_at)
        table.add_row(
            one.name, one.cron, one.tz, one.job_type, coming, _shown(one.last_at), one.last_job or "", str(one.missed)
        )
    console().print(table)


def _shown(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%MZ}"
