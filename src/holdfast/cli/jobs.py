"""`holdfast job`: looking reads the store, as a client would; asking goes to the job's owner.

Where no owner answers, a request is checked against the store and left in its inbox for the next one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime
from typing import Literal

from holdfast.admin import jobs
from holdfast.admin.jobs import JobFacts, Shown
from holdfast.jobs.door import CancelOutcome
from holdfast.jobs.lookup import job_number
from holdfast.model.ids import SECOND_US, JobId

from .consoles import console, table
from .exits import Exit
from .plain import escaped
from .stores import check_page, opened, operator

Verb = Literal["cancel", "replay", "discard"]

DONE = {"replay": "replayed", "discard": "discarded"}
MOMENTS = ("created_at", "due_at", "finished_at", "replayed_at", "discarded_at", "died_at")


def show_jobs(store: str | None, shown: Shown, *, job_type: str | None, limit: int, after: int, as_json: bool) -> Exit:
    """Raises StoreUnavailable for a store that is not there, and SchemaMismatch."""
    check_page(limit, after)
    found = asyncio.run(_jobs(store, shown, job_type, limit, after))
    if as_json:
        print(json.dumps({"jobs": [document(one) for one in found]}))
        return Exit.OK
    listed = table("job", "job type", "priority", "state", "tries", "created", "due or ended", "error", right=("job",))
    for one in found:
        tries, moment = f"{one.attempts}/{one.max_attempts}", shown_moment(one.finished_at or one.due_at)
        name, error = escaped(one.job_type), escaped(one.error or "")[:80]
        created = shown_moment(one.created_at)
        listed.add_row(str(one.id), name, one.priority, _state(one), tries, created, moment, error)
    console().print(listed if found else "no jobs")
    if len(found) == limit:
        print(f"the next: --after {found[-1].id}")
    return Exit.OK


def show_job(store: str | None, job: str, *, as_json: bool) -> Exit:
    """Raises JobNotFound."""
    found = asyncio.run(_job(store, job))
    if as_json:
        print(json.dumps(document(found)))
        return Exit.OK
    for name, value in dataclasses.asdict(found).items():
        if value is not None:
            text = shown_moment(value) if name in MOMENTS else escaped(str(value))
            print(f"{name:<13}{text}")
    return Exit.OK


def ask_job(store: str | None, verb: Verb, job: str, *, as_json: bool) -> Exit:
    """Raises JobNotFound, AlreadyCancelled."""
    outcome, new = asyncio.run(ask(store, verb, job))
    if as_json:
        print(json.dumps({"job": job, "asked": verb, "outcome": outcome, "new_job": new}))
    else:
        print(f"job {job_number(JobId(job))}: {outcome}" + (f" as job {new}" if new else ""))
    return Exit.OK


async def ask(store: str | None, verb: Verb, job: str) -> tuple[str, str | None]:
    """What became of it, and the new job of a replay."""
    number = JobId(job)
    async with operator(store) as app:
        match verb:
            case "cancel":
                return CancelOutcome(await app.jobs.cancel(number)).value, None
            case "replay":
                return DONE[verb], (await app.jobs.replay(number)).id
            case "discard":
                await app.jobs.discard(number)
                return DONE[verb], None


def document(facts: object) -> dict[str, object]:
    """A dataclass of facts for `--json`: moments are seconds since the epoch, ids text as in the API."""
    shown: dict[str, object] = dataclasses.asdict(facts)  # type: ignore[call-overload]
    for name, value in shown.items():
        if name in MOMENTS and isinstance(value, int):
            shown[name] = value / SECOND_US
        elif name in ("id", "replay_of") and value is not None:
            shown[name] = str(value)
    return shown


def shown_moment(at_us: int | None) -> str:
    """In UTC, to the second."""
    return "" if at_us is None else f"{datetime.fromtimestamp(at_us // SECOND_US, UTC):%Y-%m-%d %H:%M:%SZ}"


async def _jobs(store: str | None, shown: Shown, job_type: str | None, limit: int, after: int) -> list[JobFacts]:
    async with opened(store) as found:
        return await jobs.jobs(found, shown, limit=limit, after=max(after, 0), job_type=job_type)


async def _job(store: str | None, job: str) -> JobFacts:
    number = job_number(JobId(job))
    async with opened(store) as found:
        return await jobs.job(found, number)


def _state(one: JobFacts) -> str:
    if one.executor is not None:
        return f"{one.state} on {one.executor}"
    if one.replayed_at is not None:
        return f"{one.state}, replayed"
    return f"{one.state}, discarded" if one.discarded_at is not None else one.state
