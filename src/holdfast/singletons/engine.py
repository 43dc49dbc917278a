"""The owner's part in singletons: it runs those whose shards it is given, and ends them before it gives them away.

An execution that raises is started again with a growing pause, from the state that was saved last. One that returns is
over, or with `every` comes again. The order of an end is what makes a singleton one: the task is cancelled and awaited,
saving is closed, the outcome of a save under way is known, and only then the shard may go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from contextvars import Context
from random import Random

from holdfast.errors import FencedOut
from holdfast.kit.backoff import Backoff
from holdfast.kit.clock import Clock
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.model.ids import SECOND_US
from holdfast.ports.commits import Commits
from holdfast.ports.reads import MessageReader
from holdfast.settings import SingletonSettings

from .definition import DeclaredSingleton
from .keeping import SINGLETON_TYPE, StateKeeper

STOP_S = 5.0
"""Seconds that cancelled tasks get where nobody says how many."""

log = logging.getLogger(__name__)


class Running:
    """One singleton on this runner."""

    __slots__ = ("declared", "keeper", "leaving", "shard", "task")

    def __init__(self, declared: DeclaredSingleton, shard: int) -> None:
        self.declared = declared
        self.shard = shard
        self.keeper: StateKeeper | None = None
        self.leaving = False
        self.task: asyncio.Task[None] | None = None


class SingletonEngine:
    """Runs the singletons of the shards it is given."""

    def __init__(
        self,
        *,
        singletons: Iterable[DeclaredSingleton],
        commits: Commits,
        reader: MessageReader,
        clock: Clock,
        random: Random,
        metrics: MetricsService,
        settings: SingletonSettings,
        shard_of: Callable[[Address], int],
    ) -> None:
        """Belongs to the running event loop. `clock`'s wall time is shown, its other one measures."""
        self._singletons = [(one, shard_of(Address(SINGLETON_TYPE, one.name))) for one in singletons]
        self._commits = commits
        self._reader = reader
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._backoff = Backoff(first_s=settings.retry_first, ceiling_s=settings.retry_max)
        self._running: dict[str, Running] = {}

    async def adopt(self, shards: Collection[int]) -> None:
        """Starts what belongs to these shards; returns at once."""
        for declared, shard in self._singletons:
            if shard in shards and not self._is_served(declared.name):
                running = self._running[declared.name] = Running(declared, shard)
                # From an empty context: what the caller of `adopt` had in its own is none of the task's business.
                running.task = Context().run(
                    asyncio.get_running_loop().create_task, self._serve(running), name=f"singleton.{declared.name}"
                )

    def on(self, shards: Collection[int]) -> set[int]:
        """Those of the shards on which a singleton runs."""
        return {one.shard for one in self._running.values() if one.shard in shards}

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        """Ends what belongs to these shards; what does not end within the time can save nothing any more."""
        await self._end([one for one in self._running.values() if one.shard in shards], timeout_s)

    async def drain(self, timeout_s: float) -> None:
        """Ends everything; what does not end within the time can save nothing any more."""
        await self._end(list(self._running.values()), timeout_s)

    async def abandon(self) -> None:
        """Ends everything, and lets nothing more be saved: another incarnation has taken over."""
        for running in self._running.values():
            if running.keeper is not None:
                running.keeper.shut()
        await self._end(list(self._running.values()), STOP_S)

    async def stop(self) -> None:
        """Ends everything. Works twice."""
        await self.drain(STOP_S)

    def _is_served(self, name: str) -> bool:
        running = self._running.get(name)
        return running is not None and running.task is not None and not running.task.done()

    async def _end(self, ending: Collection[Running], timeout_s: float) -> None:
        tasks = {one.task for one in ending if one.task is not None}
        for one in ending:
            one.leaving = True
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for one in ending:
            if one.task is not None and not one.task.done():
                log.error("singleton %s does not end when cancelled; it can save nothing more", one.declared.name)
            if one.keeper is not None:
                await one.keeper.close()
            self._running.pop(one.declared.name, None)

    async def _serve(self, running: Running) -> None:
        declared, failures = running.declared, 0
        while not running.leaving:
            began = self._clock.monotonic()
            error = await self._executed(running)
            if isinstance(error, FencedOut):
                log.warning("singleton %s stops here, it runs elsewhere now: %s", declared.name, error)
                return
            if error is not None:
                failures = 1 if self._clock.monotonic() - began > self._backoff.ceiling_s else failures + 1
                pause_s = self._backoff.delay_s(failures, self._random)
                log.error("singleton %s raised; it starts again in %.1f s", declared.name, pause_s, exc_info=error)
                await asyncio.sleep(pause_s)
            elif declared.every_s is None:
                return
            else:
                failures = 0
                await asyncio.sleep(declared.every_s)

    async def _executed(self, running: Running) -> Exception | asyncio.CancelledError | None:
        """Runs it once; returns what it raised. Raises CancelledError only where this task is meant."""
        name, began, outcome = running.declared.name, self._clock.monotonic(), "error"
        self._seen(name)
        keeper = running.keeper = self._keeper(running)
        try:
            task = running.declared.open(keeper, await keeper.load())
            await task()
            outcome = "ok"
        except asyncio.CancelledError as error:
            if running.leaving:
                outcome = "cancelled"
                raise
            return error  # of something that it awaited
        except Exception as error:
            self._metrics.errors.record(error)
            return error
        finally:
            singleton = self._metrics.singleton
            singleton.executions.labels(singleton=name, outcome=outcome).inc()
            singleton.duration.labels(singleton=name).observe(self._clock.monotonic() - began)
            self._seen(name)
            keeper.shut()
        return None

    def _seen(self, name: str) -> None:
        self._metrics.singleton.last_execution.labels(singleton=name).set(self._clock.now_us() / SECOND_US)

    def _keeper(self, running: Running) -> StateKeeper:
        declared = running.declared
        return StateKeeper(
            declared.name, running.shard, codec=declared.codec, commits=self._commits, reader=self._reader
        )
