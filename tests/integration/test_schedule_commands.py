"""`holdfast schedule` as operators meet it: beside a runner, and where none runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from holdfast import App
from holdfast.errors import HoldfastError
from holdfast.runtime.config import STORE_VARIABLE
from tests.support.command import holdfast

PATIENCE_S = 120.0


def new_app() -> App:
    app = App("shop")

    @app.cron("0 9 * * MON-FRI", tz="Europe/Berlin")
    @app.job
    async def report() -> None: ...

    @app.job
    async def sweep(region: str) -> None: ...

    app.schedule("sweep-eu", sweep.call("eu"), cron="0 0 1 1 *")
    return app


@contextlib.asynccontextmanager
async def running(store: str) -> AsyncIterator[App]:
    """A runner that has declared its schedules."""
    app = new_app()
    async with app.runner(store=store):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if all([await declared(app, name) for name in app.schedules.names]):
                    break
                await asyncio.sleep(0.01)
        yield app


async def declared(app: App, name: str) -> bool:
    with contextlib.suppress(HoldfastError):
        return (await app.schedules.status(name)).next_at is not None
    return False


def typed(store: str, *words: str) -> CompletedProcess[str]:
    return holdfast("schedule", *words, environment={**os.environ, STORE_VARIABLE: store})


async def told(store: str, *words: str) -> Any:
    done = await asyncio.to_thread(typed, store, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


async def test_an_operator_looks_pauses_resumes_and_runs(store: str) -> None:
    async with running(store) as app:
        listed = {one["name"]: one for one in (await told(store, "list"))["schedules"]}
        assert listed.keys() == {"report", "sweep-eu"}
        assert (listed["report"]["cron"], listed["report"]["tz"]) == ("0 9 * * MON-FRI", "Europe/Berlin")
        assert listed["report"]["next_at"] is not None and not listed["report"]["paused"]

        assert (await told(store, "pause", "report"))["done"]
        assert (await app.schedules.status("report")).paused
        assert (await told(store, "resume", "report"))["done"]
        assert not (await app.schedules.status("report")).paused

        job = (await told(store, "run", "sweep-eu"))["job"]
        await app.jobs.wait(job, timeout=PATIENCE_S)
        assert (await app.schedules.status("sweep-eu")).last_job == job


async def test_where_no_runner_runs_a_request_waits_for_one(store: str) -> None:
    async with running(store):
        pass
    assert not (await told(store, "pause", "report"))["done"]
    app = new_app()
    async with app.runner(store=store), asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(HoldfastError):
                if (await app.schedules.status("report")).paused:
                    break
            await asyncio.sleep(0.01)
    following = await told(store, "next", "report", "--count", "6")
    assert following["paused"] and len(following["next"]) == 6
    assert {at[11:16] for at in following["next"]} == {"09:00"}


async def test_for_people_it_is_text(store: str) -> None:
    async with running(store):
        pass
    listed = await asyncio.to_thread(typed, store, "list")
    assert "sweep-eu" in listed.stdout and "Europe/Berlin" in listed.stdout
    following = await asyncio.to_thread(typed, store, "next", "sweep-eu", "--count", "2")
    assert following.stdout.count("01-01 00:00 UTC") == 2


async def test_an_unknown_name_and_a_store_that_is_not_there_are_told_in_a_line(store: str) -> None:
    missing = await asyncio.to_thread(typed, store, "list")
    assert missing.returncode == 2 and "no store yet" in missing.stderr
    async with running(store):
        unknown = await asyncio.to_thread(typed, store, "pause", "nightly")
    assert unknown.returncode == 1 and "'nightly'" in unknown.stderr and "Traceback" not in unknown.stderr
    wrong = await asyncio.to_thread(typed, store, "next", "report", "--count", "0")
    assert wrong.returncode == 2 and "--count" in wrong.stderr
