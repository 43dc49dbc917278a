"""Singletons and schedules of several runners on one PostgreSQL: one serves, and when it goes another one goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from holdfast import App, Settings, Singleton
from holdfast.errors import FencedOut, HoldfastError
from holdfast.kit.hashing import shard_of
from holdfast.settings import ClusterSettings
from holdfast.singletons.keeping import SINGLETON_TYPE
from tests.support import postgres

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PATIENCE_S = 120.0
SETTINGS = Settings(cluster=ClusterSettings(shards=8, lease_renewal=0.5, drain_timeout=5.0))


@pytest.fixture
async def url(postgres_servers: Callable[[str], str]) -> AsyncIterator[str]:
    async with postgres.emptied_schema(postgres_servers("postgres")) as url:
        yield url


@dataclass
class Count:
    reached: int = 0


class Town:
    """Runners in this process, each with an App of its own, and what their singleton did."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.done: list[tuple[str, int]] = []
        """Who saved which number, in order."""
        self.at_once = self.most_at_once = self.ended = 0
        self.errors: list[BaseException] = []
        self.opened: dict[str, AsyncExitStack] = {}

    async def open(self, name: str) -> App:
        app, stack = self._app(name), AsyncExitStack()
        await stack.enter_async_context(app.runner(store=self.url))
        self.opened[name] = stack
        return app

    async def close(self, name: str) -> None:
        await self.opened.pop(name).aclose()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - what the runners do has no event to wait for
                await asyncio.sleep(0.02)

    def _app(self, name: str) -> App:
        town, app = self, App(name, settings=SETTINGS)

        @app.singleton(name="counter")
        class Counter(Singleton[Count]):
            async def run(self) -> None:
                town.at_once += 1
                town.most_at_once = max(town.most_at_once, town.at_once)
                try:
                    while True:
                        self.state.reached += 1
                        await self.save()
                        town.done.append((name, self.state.reached))
                        await asyncio.sleep(0.02)
                except HoldfastError as error:
                    town.errors.append(error)
                    raise
                finally:
                    town.at_once -= 1
                    town.ended += 1

        @app.job
        async def report() -> str:
            return name

        app.schedule("report", report, cron="0 0 1 1 *")
        return app


@pytest.fixture
async def town(url: str) -> AsyncIterator[Town]:
    town = Town(url)
    yield town
    for name in list(town.opened):
        await town.close(name)


async def test_when_the_runner_drains_the_next_one_goes_on_where_it_was(town: Town) -> None:
    for name in ("first", "second"):
        await town.open(name)
    await town.until(lambda: len(town.done) >= 5)
    owner = town.done[-1][0]
    await town.close(owner)
    before = len(town.done)
    await town.until(lambda: len(town.done) >= before + 5)
    assert {name for name, _ in town.done[before:]} == {"first", "second"} - {owner}
    numbers = [number for _, number in town.done]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - len(numbers) <= town.ended  # each that was cancelled may have saved one that it did not note
    assert town.most_at_once == 1


async def test_what_a_reaped_runner_would_save_is_refused_and_another_one_goes_on(town: Town) -> None:
    """Its effects in the store end with its lease; every number was saved by one of them only."""
    apps = {name: await town.open(name) for name in ("first", "second")}
    await town.until(lambda: len(town.done) >= 5)
    owner = await serving(apps["first"])
    await postgres.run(town.url, f"DELETE FROM holdfast_runner WHERE runner_id = {owner}")
    before = len(town.done)
    await town.until(lambda: len(town.done) >= before + 20)
    numbers = [number for _, number in town.done]
    assert numbers == sorted(set(numbers))
    assert all(isinstance(error, FencedOut) for error in town.errors)


async def serving(app: App) -> int:
    """The id of the runner that owns the singleton's shard."""
    shards = await app.cluster.shards()
    first, wanted = min(one.number for one in shards), shard_of(SINGLETON_TYPE, "counter", len(shards))
    return next(one.runner_id for one in shards if one.number == first + wanted)


async def test_a_schedule_is_served_by_whoever_has_its_shard(town: Town) -> None:
    apps = {name: await town.open(name) for name in ("first", "second")}

    async def ask(app: App) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    job = await app.schedules.run("report")
                    return str(await app.jobs.wait(job, timeout=PATIENCE_S))
                except HoldfastError:
                    await asyncio.sleep(0.05)

    assert {await ask(app) for app in apps.values()} <= apps.keys()
    await apps["first"].schedules.pause("report")
    await town.close("first")
    assert (await apps["second"].schedules.status("report")).paused
    await apps["second"].schedules.resume("report")
    assert await ask(apps["second"]) == "second"
