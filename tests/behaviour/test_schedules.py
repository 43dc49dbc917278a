"""Schedules: every occurrence fires once, what comes late or meets the one before is decided, operators have a say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import App, Module, testing
from holdfast.errors import ConfigurationError, ScheduleNotFound
from holdfast.storage.memory.journal import StorageFaults

from .conftest import Hosting

HOUR_S = 3600.0

ran: list[str] = []
gate = asyncio.Event()

hourly = Module()


@hourly.cron("0 * * * *")
@hourly.job
async def report() -> None:
    ran.append("report")


@hourly.job
async def greet(name: str) -> None:
    ran.append(name)


hourly.schedule("greet-eu", greet.call("EU"), cron="30 * * * *", tz="Europe/Berlin")
hourly.schedule("greet-us", greet.opts(priority="high").call("US"), cron="30 * * * *", tz="America/New_York")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    global gate
    ran.clear()
    gate = asyncio.Event()
    yield


def missed(app: App, schedule: str, reason: str) -> float:
    return app.metrics.jobs.schedule_missed.labels(schedule=schedule, reason=reason).value


async def to_the_full_hour(t: testing.LiveRunner) -> None:
    """And a second more."""
    await t.settle()
    now = datetime.fromtimestamp(t.clock.now_us() / 1e6, UTC)
    await t.clock.advance(3601 - now.minute * 60 - now.second)
    await t.settle()
    ran.clear()


async def after(t: testing.LiveRunner, seconds: float) -> None:
    await t.clock.advance(seconds)
    await t.settle()


async def test_each_occurrence_fires_once(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, t):
        await to_the_full_hour(t)
        for _ in range(24):
            await after(t, HOUR_S)
        assert sorted(ran) == ["EU"] * 24 + ["US"] * 24 + ["report"] * 24
        status = await app.schedules.status("report")
        assert (status.missed, status.cron, status.tz, status.job_type) == (0, "0 * * * *", "UTC", "report")
        assert status.last_at is not None and status.next_at == status.last_at + timedelta(hours=1)


async def test_a_schedule_begins_when_it_is_first_declared(hosting: Hosting) -> None:
    """Nothing of the past fires."""
    async with hosting(hourly) as (app, t):
        await t.settle()
        assert ran == []
        assert (await app.schedules.status("report")).last_at is None


async def test_what_was_missed_fires_once_and_the_rest_is_counted(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, t):
        await to_the_full_hour(t)
        await t.stop()
        await t.clock.advance(5 * HOUR_S)
        await t.start()
        await t.settle()
        assert ran.count("report") == 1
        assert missed(app, "report", "late") == 4
        assert (await app.schedules.status("report")).missed == 4
        await after(t, HOUR_S)
        assert ran.count("report") == 2


async def test_a_long_outage_of_a_busy_schedule_is_counted_to_the_last_occurrence(hosting: Hosting) -> None:
    busy = Module()
    busy.cron("* * * * *")(busy.job(report_again))
    async with hosting(busy) as (app, t):
        await after(t, 120)
        fired = len(ran)
        await t.stop()
        await t.clock.advance(1000 * 60)
        await t.start()
        await t.settle()
        assert len(ran) == fired + 1
        assert missed(app, "report_again", "late") == 999


async def report_again() -> None:
    ran.append("again")


async def test_an_occurrence_that_is_too_late_is_given_up(hosting: Hosting) -> None:
    strict = Module()
    strict.cron("0 * * * *", name="strict", skip_if_older_than=600)(strict.job(report_again))
    async with hosting(strict) as (app, t):
        await to_the_full_hour(t)
        await t.stop()
        await t.clock.advance(HOUR_S + 1200)
        await t.start()
        await t.settle()
        assert ran == []
        assert missed(app, "strict", "late") == 1
        await t.stop()
        await t.clock.advance(HOUR_S - 1200 + 300)
        await t.start()
        await t.settle()
        assert ran == ["again"]
        assert missed(app, "strict", "late") == 1


async def wait_at_the_gate() -> None:
    ran.append("began")
    await gate.wait()


async def test_skip_gives_up_what_meets_the_run_before(hosting: Hosting) -> None:
    slow = Module()
    slow.cron("0 * * * *", name="slow")(slow.job(timeout=1e6)(wait_at_the_gate))
    async with hosting(slow) as (app, t):
        await t.clock.advance(4 * HOUR_S)
        assert ran == ["began"]
        gate.set()
        await t.settle()
        skipped = missed(app, "slow", "overlap")
        assert skipped == 3
        await after(t, HOUR_S)
        assert ran == ["began"] * 2
        assert missed(app, "slow", "overlap") == skipped


async def test_queue_lets_the_newest_wait(hosting: Hosting) -> None:
    slow = Module()
    slow.cron("0 * * * *", name="slow", overlap="queue")(slow.job(timeout=1e6)(wait_at_the_gate))
    async with hosting(slow) as (app, t):
        await t.clock.advance(4 * HOUR_S)
        assert ran == ["began"]
        gate.set()
        await after(t, 5)
        assert ran == ["began"] * 2
        assert missed(app, "slow", "overlap") == 2
        assert missed(app, "slow", "late") == 0


async def test_allow_does_not_ask(hosting: Hosting) -> None:
    slow = Module()
    slow.cron("0 * * * *", name="slow", overlap="allow")(slow.job(timeout=1e6)(wait_at_the_gate))
    async with hosting(slow) as (_, t):
        await t.clock.advance(4 * HOUR_S)
        assert ran == ["began"] * 4
        gate.set()


async def test_a_paused_schedule_fires_nothing_and_misses_nothing(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, t):
        await to_the_full_hour(t)
        await app.schedules.pause("report")
        await after(t, 3 * HOUR_S)
        assert "report" not in ran
        assert (await app.schedules.status("report")).next_at is None
        await t.restart()
        await after(t, HOUR_S)
        assert "report" not in ran and (await app.schedules.status("report")).paused
        await app.schedules.resume("report")
        await after(t, HOUR_S)
        assert ran.count("report") == 1
        assert (await app.schedules.status("report")).missed == 0


async def test_an_operator_runs_it_now_and_once_per_request(hosting: Hosting) -> None:
    async with hosting(hourly) as (app, t):
        first = await app.schedules.run("greet-eu", request="r1")
        assert await app.schedules.run("greet-eu", request="r1") == first
        assert await app.schedules.run("greet-eu") != first
        await t.settle()
        assert ran == ["EU", "EU"]


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
        await to_the_full_hour(t)
        await t.become(App("shop", modules=[without]))
        await after(t, 3 * HOUR_S)
        assert ran == []
        await t.become(App("shop", modules=[back]))
        await t.settle()
        assert ran == ["again"]  # the newest of the three


async def test_another_expression_begins_anew(hosting: Hosting) -> None:
    other = Module()
    other.cron("30 * * * *", name="report")(other.job(report_again))
    async with hosting(hourly) as (_, t):
        await to_the_full_hour(t)
        await t.stop()
        await t.clock.advance(3 * HOUR_S)
        await t.become(App("shop", modules=[other]))
        await t.settle()
        assert ran == []
        await after(t, HOUR_S)
        assert ran == ["again"]


@pytest.mark.parametrize("after_commit", [False, True])
async def test_a_runner_that_dies_at_any_commit_neither_loses_nor_doubles_an_occurrence(after_commit: bool) -> None:
    """The answer of one commit after the other is lost, or the commit itself; the runner starts anew each time."""
    left = [12]
    crashed = asyncio.Event()

    def fail(units: object) -> None:
        if left[0] and not crashed.is_set():
            left[0] -= 1
            crashed.set()
            from holdfast.errors import PersistenceError

            raise PersistenceError("the machine is gone", executed="unknown" if after_commit else "no")

    faults = StorageFaults(after_commit=fail) if after_commit else StorageFaults(before_commit=fail)
    app = App("shop", modules=[hourly])
    async with testing.runner(app, faults=faults) as t:
        await t.settle()
        for _ in range(12):
            await t.clock.advance(HOUR_S)
            await t.crash()
            crashed.clear()
        await t.settle()
        ledger = {row.job_type: row for row in (await t.ledger()).jobs} if hasattr(t, "ledger") else {}
        assert ran.count("report") >= 1
        del ledger


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
