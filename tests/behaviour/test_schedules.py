"""Schedules: every occurrence fires once, what comes late or meets the one before is decided, operators have a say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast import App, Module, Overlap, job_context, testing
from holdfast.errors import ConfigurationError, PersistenceError, ScheduleNotFound
from holdfast.model.job import JobRow
from holdfast.model.unit import Unit

from .conftest import Hosting

HOUR_S = 3600.0

ran: list[str] = []
jobs: set[str] = set()
"""Those that ran as `report`, once each: a job whose runner died runs again."""
gate = asyncio.Event()

hourly = Module()


@hourly.cron("0 * * * *")
@hourly.job
async def report() -> None:
    ran.append("report")
    jobs.add(job_context().job_id)


@hourly.job
async def greet(name: str) -> None:
    ran.append(name)


hourly.schedule("tea", greet.opts(priority="high").call("tea"), cron="0 9 * * *", tz="Asia/Karachi")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    global gate
    ran.clear()
    jobs.clear()
    gate = asyncio.Event()
    yield


def missed(app: App, schedule: str, reason: str) -> float:
    return app.metrics.jobs.schedule_missed.labels(schedule=schedule, reason=reason).value


async def started_at_the_hour(t: testing.LiveRunner) -> None:
    """A second after a full hour, with nothing to be caught up."""
    await t.settle()
    await asleep(t, HOUR_S)
    await t.clock.advance(1)
    await t.settle()
    ran.clear()


async def asleep(t: testing.LiveRunner, seconds: float) -> None:
    """Nobody runs for so long, but for the last second. (A runner has a lease to keep: its hours take their time.)"""
    await t.stop()
    await t.clock.advance(seconds - 1)
    await t.start()
    await t.clock.advance(1)
    await t.settle()


async def across_the_hour(t: testing.LiveRunner) -> None:
    """To a second after the next full hour; a runner is there when it comes. From a second after one."""
    await asleep(t, HOUR_S - 10)
    await t.clock.advance(10)
    await t.settle()


async def test_each_occurrence_fires_once_in_its_own_zone(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, t):
        await started_at_the_hour(t)
        for _ in range(5):
            await across_the_hour(t)
        assert sorted(ran) == ["report"] * 5 + ["tea"]
        status = await app.schedules.status("report")
        assert (status.missed, status.cron, status.tz, status.job_type) == (0, "0 * * * *", "UTC", "report")
        assert status.last_at is not None and status.next_at == status.last_at + timedelta(hours=1)
        tea = await app.schedules.status("tea")
        assert tea.last_at == datetime(2026, 1, 1, 4, tzinfo=UTC)


async def test_a_runner_that_stays_fires_every_minute() -> None:
    busy = Module()
    busy.cron("* * * * *")(busy.job(report_again))
    app = App("shop", modules=[busy])
    async with testing.runner(app) as t:
        await t.clock.advance(5 * 60 + 1)
        await t.settle()
        assert ran == ["again"] * 5
        assert app.schedules.names == ["report_again"]


async def test_a_schedule_begins_when_it_is_first_declared(hosting: Hosting) -> None:
    """Nothing of the past fires."""
    async with hosting(hourly) as (app, t):
        await t.settle()
        assert ran == []
        assert (await app.schedules.status("report")).last_at is None


async def test_what_was_missed_fires_once_and_the_rest_is_counted(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, t):
        await started_at_the_hour(t)
        await asleep(t, 5 * HOUR_S)
        assert ran.count("report") == 1
        assert missed(app, "report", "late") == 4
        assert (await app.schedules.status("report")).missed == 4
        await across_the_hour(t)
        assert ran.count("report") == 2


async def test_a_long_outage_of_a_busy_schedule_is_counted_to_the_last_occurrence(hosting: Hosting) -> None:
    busy = Module()
    busy.cron("* * * * *")(busy.job(report_again))
    async with hosting(busy) as (app, t):
        await started_at_the_hour(t)
        before = missed(app, "report_again", "late")
        await asleep(t, 1000 * 60)
        assert ran == ["again"]
        assert missed(app, "report_again", "late") - before == 999


async def report_again() -> None:
    ran.append("again")


async def test_an_occurrence_that_is_too_late_is_given_up(hosting: Hosting) -> None:
    strict = Module()
    strict.cron("0 * * * *", name="strict", skip_if_older_than=600)(strict.job(report_again))
    async with hosting(strict) as (app, t):
        await started_at_the_hour(t)
        before = missed(app, "strict", "late")
        await asleep(t, HOUR_S + 1200)
        assert ran == []
        assert missed(app, "strict", "late") - before == 1
        await asleep(t, HOUR_S - 1200 + 300)
        assert ran == ["again"]
        assert missed(app, "strict", "late") - before == 1


async def wait_at_the_gate() -> None:
    ran.append("began")
    await gate.wait()


def slow(overlap: Overlap) -> Module:
    """Every minute something that takes several."""
    module = Module()
    module.cron("* * * * *", name="slow", overlap=overlap)(module.job(timeout=1e6)(wait_at_the_gate))
    return module


async def test_skip_gives_up_what_meets_the_run_before() -> None:
    app = App("shop", modules=[slow("skip")])
    async with testing.runner(app) as t:
        await t.clock.advance(4 * 60 + 1)
        assert ran == ["began"]
        assert missed(app, "slow", "overlap") == 3
        gate.set()
        await t.clock.advance(60)
        assert ran == ["began"] * 2
        assert missed(app, "slow", "overlap") == 3


async def test_queue_lets_the_newest_wait() -> None:
    app = App("shop", modules=[slow("queue")])
    async with testing.runner(app) as t:
        await t.clock.advance(4 * 60 + 1)
        assert ran == ["began"]
        assert missed(app, "slow", "overlap") == 2
        gate.set()
        await t.clock.advance(5)
        assert ran == ["began"] * 2
        assert (await app.schedules.status("slow")).last_at == datetime(2026, 1, 1, 0, 4, tzinfo=UTC)
        assert missed(app, "slow", "late") == 0


async def test_allow_does_not_ask() -> None:
    app = App("shop", modules=[slow("allow")])
    async with testing.runner(app) as t:
        await t.clock.advance(4 * 60 + 1)
        assert ran == ["began"] * 4
        gate.set()


async def test_a_paused_schedule_fires_nothing_and_misses_nothing(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, t):
        await started_at_the_hour(t)
        await app.schedules.pause("report")
        await across_the_hour(t)
        assert "report" not in ran
        status = await app.schedules.status("report")
        assert status.paused and status.next_at is None
        await asleep(t, 3 * HOUR_S)
        await app.schedules.resume("report")
        await t.settle()
        assert "report" not in ran
        await across_the_hour(t)
        assert ran.count("report") == 1
        assert (await app.schedules.status("report")).missed == 0


async def test_an_operator_runs_it_now_and_once_per_request(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, t):
        first = await app.schedules.run("tea", request="r1")
        assert await app.schedules.run("tea", request="r1") == first
        assert await app.schedules.run("tea") != first
        await t.settle()
        assert ran == ["tea", "tea"]


async def test_an_unknown_schedule_is_said_to_be_unknown(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, _):
        for ask in (app.schedules.pause, app.schedules.resume, app.schedules.run, app.schedules.status):
            with pytest.raises(ScheduleNotFound, match="nightly"):
                await ask("nightly")
        with pytest.raises(ScheduleNotFound, match="nightly"):
            app.schedules.next("nightly")


async def test_a_schedule_that_the_code_gave_up_ends_and_goes_on_when_it_is_back(hosting: Hosting) -> None:
    without, back = Module(), Module()
    without.schedule("other", without.job(report_again).call(), cron="0 0 1 1 *")
    back.cron("0 * * * *", name="report")(back.job(report_again))
    async with hosting(hourly) as (_, t):
        await started_at_the_hour(t)
        await t.become(App("shop", modules=[without]))
        await asleep(t, 3 * HOUR_S)
        assert ran == []
        await t.become(App("shop", modules=[back]))
        await t.clock.advance(1)
        await t.settle()
        assert ran == ["again"]  # the newest of the three


async def test_another_expression_begins_anew(hosting: Hosting) -> None:
    other = Module()
    other.cron("30 * * * *", name="report")(other.job(report_again))
    app = App("shop", modules=[other])
    async with hosting(hourly) as (_, t):
        await started_at_the_hour(t)
        await t.become(app)
        await t.settle()
        assert (await app.schedules.status("report")).next_at == datetime(2026, 1, 1, 1, 30, tzinfo=UTC)
        await asleep(t, HOUR_S / 2)
        assert ran == ["again"]


@pytest.mark.parametrize("written", [False, True])
async def test_a_runner_that_dies_at_a_commit_neither_loses_nor_doubles_an_occurrence(written: bool) -> None:
    """The commit of a job is refused, or written and its answer lost; then the runner dies."""
    hits = 0

    def fail(units: Sequence[Unit]) -> None:
        nonlocal hits
        if any(isinstance(row, JobRow) and row.job_type == "report" for unit in units for row in unit.rows):
            hits += 1
            if hits % 2:
                raise PersistenceError("the machine is gone", executed="unknown" if written else "no")

    faults = testing.StorageFaults(after_commit=fail) if written else testing.StorageFaults(before_commit=fail)
    app = App("shop", modules=[hourly])
    async with testing.runner(app, faults=faults) as t:
        await t.settle()
        for _ in range(4):
            await t.stop()
            await t.clock.advance(HOUR_S)
            await t.start()
            await t.crash()
            await t.clock.advance(2)
            await t.settle()
        assert hits >= 2
        # Counted in the store: what ran in the last moments of a runner that was killed then never was.
        node: Any = t._node
        (counts,) = [one for one in (await node._store.ledger.ledger()).jobs if one.job_type == "report"]
        assert (counts.enqueued, counts.completed) == (4, 4)
        assert (await app.schedules.status("report")).missed == 0


def test_a_schedule_that_cannot_be_is_refused_where_it_is_declared() -> None:
    module = Module()
    job = module.job(greet_somebody)
    with pytest.raises(ConfigurationError, match="needs arguments"):
        module.cron("0 * * * *")(job)
    with pytest.raises(ConfigurationError, match="overlap"):
        module.schedule("x", job.call("a"), cron="0 * * * *", overlap="both")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="which key"):
        module.schedule("x", job.opts(key="k").call("a"), cron="0 * * * *")
    with pytest.raises(ConfigurationError, match="stands above"):
        module.cron("0 * * * *")(greet_somebody)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="cron expression"):
        module.schedule("x", job.call("a"), cron="whenever")
    with pytest.raises(ConfigurationError, match="skip_if_older_than"):
        module.schedule("x", job.call("a"), cron="0 * * * *", skip_if_older_than=0)
    module.schedule("x", job.call("a"), cron="0 * * * *")
    with pytest.raises(ConfigurationError, match="twice"):
        module.schedule("x", job.call("a"), cron="0 * * * *")


async def greet_somebody(name: str) -> None:
    ran.append(name)
