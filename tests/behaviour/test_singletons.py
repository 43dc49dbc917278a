"""Singletons: they run while their shard is here, come again after an error, and keep what they have saved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from holdfast import App, Module, Singleton, testing
from holdfast.errors import ConfigurationError, EntityNotAssignedToRunner

from .conftest import Hosting

events: list[str] = []
kept: list[Singleton[Any]] = []


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    events.clear()
    kept.clear()
    yield


@dataclass
class Cursor:
    position: int = 0
    seen: list[str] = field(default_factory=list)


def executions(app: App, name: str, outcome: str) -> float:
    return app.metrics.singleton.executions.labels(singleton=name, outcome=outcome).value


async def test_a_function_runs_while_a_runner_is_open_and_is_awaited_at_its_end(hosting: Hosting) -> None:
    module = Module()

    @module.singleton
    async def watch() -> None:
        events.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            events.append("ended")

    async with hosting(module) as (app, t):
        await t.settle()
        assert events == ["began"]
        await t.restart()
        await t.settle()
        assert events == ["began", "ended", "began"]
        assert executions(app, "watch", "cancelled") == 1
        assert app.metrics.singleton.last_execution.labels(singleton="watch").value > t.clock.now_us() / 1e6 - 1
    assert events[-1] == "ended"


class Feed(Singleton[Cursor]):
    async def run(self) -> None:
        kept.append(self)
        events.append(f"from {self.state.position}")
        self.state.position += 1
        self.state.seen.append("x")
        await self.save()
        self.state.position = 99  # not saved
        await asyncio.Event().wait()


async def test_the_saved_state_moves_along(hosting: Hosting) -> None:
    module = Module()
    assert module.singleton(Feed) is Feed
    async with hosting(module) as (_, t):
        await t.settle()
        await t.restart()
        await t.settle()
        await t.crash()
        await t.settle()
        assert events == ["from 0", "from 1", "from 2"]


async def test_what_is_over_can_save_nothing_any_more(hosting: Hosting) -> None:
    """The object may have been kept by somebody; its successor's state is safe from it."""
    module = Module()
    module.singleton(Feed)
    async with hosting(module) as (_, t):
        await t.settle()
        await t.restart()
        await t.settle()
        with pytest.raises(EntityNotAssignedToRunner, match="Feed"):
            await kept[0].save()
        await t.restart()
        await t.settle()
        assert events[-1] == "from 2"


async def test_what_a_cancelled_one_saves_while_it_cleans_up_is_kept(hosting: Hosting) -> None:
    module = Module()

    @module.singleton(name="careful")
    class Careful(Singleton[Cursor]):
        async def run(self) -> None:
            events.append(f"from {self.state.position}")
            try:
                await asyncio.Event().wait()
            finally:
                self.state.position += 10
                await self.save()

    async with hosting(module) as (_, t):
        await t.settle()
        await t.restart()
        await t.settle()
        assert events == ["from 0", "from 10"]


async def test_one_that_raises_starts_again_with_growing_pauses_from_its_saved_state(hosting: Hosting) -> None:
    module = Module()
    began: list[float] = []

    @module.singleton
    class Shaky(Singleton[Cursor]):
        async def run(self) -> None:
            began.append(asyncio.get_running_loop().time())
            self.state.position += 1
            await self.save()
            if self.state.position < 4:
                self.state.position = 1000
                raise OSError("shaken")
            events.append(f"stands at {self.state.position}")

    async with hosting(module) as (app, t):
        await t.clock.advance(10)
        assert events == ["stands at 4"]
        pauses = [later - earlier for earlier, later in pairwise(began)]
        assert 0.5 <= pauses[0] <= 1.1 and 1 <= pauses[1] <= 2.1 and 2 <= pauses[2] <= 4.1
        assert (executions(app, "Shaky", "error"), executions(app, "Shaky", "ok")) == (3, 1)


async def test_one_that_returns_is_over_until_the_next_start(hosting: Hosting) -> None:
    module = Module()

    @module.singleton
    async def once() -> None:
        events.append("ran")

    async with hosting(module) as (_, t):
        await t.clock.advance(30)
        assert events == ["ran"]
        await t.restart()
        await t.settle()
        assert events == ["ran"] * 2


async def test_one_with_a_period_comes_again(hosting: Hosting) -> None:
    module = Module()

    @module.singleton(every=10.0)
    async def sweep() -> None:
        events.append("swept")
        await asyncio.sleep(1)

    async with hosting(module) as (_, t):
        await t.clock.advance(40)
        assert events == ["swept"] * 4  # at 0, 11, 22 and 33


async def test_a_cancelled_error_of_something_awaited_is_an_error_and_no_end(hosting: Hosting) -> None:
    module = Module()

    @module.singleton
    async def waits_for_something_cancelled() -> None:
        events.append("began")
        if len(events) == 1:
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gone.cancel()
            await gone

    async with hosting(module) as (_, t):
        await t.clock.advance(5)
        assert events == ["began"] * 2


async def test_a_stateless_class_and_a_first_state_of_its_own() -> None:
    module = Module()

    @module.singleton
    class Plain(Singleton[None]):
        async def run(self) -> None:
            await self.save()
            events.append(f"state {self.state}")

    @module.singleton
    class Later(Singleton[Cursor]):
        def initial(self) -> Cursor:
            return Cursor(position=7)

        async def run(self) -> None:
            events.append(f"from {self.state.position}")

    async with testing.runner(App("shop", modules=[module])) as t:
        await t.settle()
        await t.clock.advance(1)
        assert sorted(events) == ["from 7", "state None"]


async def test_a_singleton_reaches_jobs_like_anybody_else(hosting: Hosting) -> None:
    module = Module()

    @module.job
    async def work(number: int) -> None:
        events.append(f"worked {number}")

    @module.singleton
    async def source() -> None:
        for number in range(3):
            await work.submit(number)

    async with hosting(module) as (_, t):
        await t.clock.advance(2)
        await t.settle()
        assert sorted(events) == ["worked 0", "worked 1", "worked 2"]


@pytest.mark.parametrize(
    "declare",
    [
        lambda module: module.singleton(lambda: None),
        lambda module: module.singleton(Cursor),
        lambda module: module.singleton(Singleton),
        lambda module: module.singleton(every=0)(Feed),
        lambda module: module.singleton(name="")(takes_something),
        lambda module: [module.singleton(Feed), module.singleton(Feed)],
    ],
)
def test_what_can_be_no_singleton_is_refused_where_it_is_declared(declare: Callable[[Any], object]) -> None:
    with pytest.raises(ConfigurationError, match="singleton"):
        declare(Module())


async def takes_something(number: int) -> None: ...
