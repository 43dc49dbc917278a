"""The lease of this incarnation: taken, kept, lost or left.

The store's clock decides when a lease ends. What is known here is a deadline on this process's monotonic clock,
reckoned from the moment before the renewal was sent and a little short, so it is never later than the store's. Past
it this runner must assume that it has been replaced: `lapsed`, which any thread may ask and which needs nobody to have
noticed first. A process that was stopped for an hour finds it true with the first instruction it runs again.

Where the store says so, the lease is kept by a thread with an event loop and a line to the store of its own, so that a
busy event loop does not lose it. But a loop that stands still for `loop_stall_limit` serves nobody, and then the lease
is not renewed any more: the others take over.

Each renewal brings all runners' rows; the runner's loop hears of each (`listen`), and of the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from holdfast.errors import PersistenceError, RunnerNotRegistered
from holdfast.kit.clock import Clock
from holdfast.metrics import MetricsService
from holdfast.model.cluster import RunnerRow, RunnerState
from holdfast.model.ids import micros
from holdfast.ports.membership import LeaseLine, Membership, Registration
from holdfast.settings import ClusterSettings

from .keeper import Keeper
from .vigil import ALLOWANCE, Vigil

logger = logging.getLogger("holdfast.cluster")

AGAIN_S = 0.25
"""Seconds after which a renewal that failed is tried again, and a loop that stands still is looked at again."""


class View(NamedTuple):
    """All runners as the store had them, when its clock showed `now_us`: some moment between asking and the answer."""

    now_us: int
    asked_at: float
    answered_at: float
    runners: Sequence[RunnerRow]


class LeaseStore(Protocol):
    """What the lease needs of a store."""

    @property
    def membership(self) -> Membership: ...

    @property
    def alone(self) -> bool: ...

    @property
    def lease_on_thread(self) -> bool: ...

    async def lease_line(self) -> LeaseLine: ...


class Lease:
    """One incarnation's registration. Belongs to the runner's loop; what any thread may call says so."""

    def __init__(
        self,
        *,
        store: LeaseStore,
        clock: Clock,
        settings: ClusterSettings,
        metrics: MetricsService,
        stalled_s: Callable[[], float],
    ) -> None:
        """`stalled_s`: for how long the runner's event loop has stood still, callable from any thread."""
        self._store = store
        self._clock = clock
        self._settings = settings
        self._renewals = metrics.cluster.lease_renewals
        self._metrics = metrics
        self._stalled_s = stalled_s
        self._loop = asyncio.get_running_loop()
        self._keeper: Keeper | None = None
        self._deadline = float("-inf")
        self._trusted_s = settings.lease_ttl * (1 - ALLOWANCE)
        self._vigil = Vigil(ttl_s=settings.lease_ttl, first_s=settings.lease_renewal)
        self._asking: list[tuple[float, asyncio.Future[None]]] = []
        self._on_view: Callable[[], None] = _nobody
        self._on_lost: Callable[[], None] = _nobody
        self._unwatch: Callable[[], None] = _nobody
        self._state = RunnerState.ACTIVE
        self.runner_id = 0
        self.lost = False
        """Whether the incarnation was reaped; any thread may ask."""
        self.view: View

    async def start(
        self,
        *,
        address: str,
        version: str,
        types: Sequence[str],
        groups: Sequence[str],
        weight: float = 1.0,
        wanted: RunnerState = RunnerState.ACTIVE,
    ) -> int:
        """Registers and keeps the lease from now on; returns the runner id. Once for each instance.

        `wanted`: what an operator wanted of this process's incarnation before, which was reaped.
        """
        ttl_us = micros(self._settings.lease_ttl)
        asked_at = self._clock.monotonic()
        registration = Registration(address, version, tuple(sorted(types)), tuple(sorted(groups)), weight, ttl_us)
        self.runner_id = await self._store.membership.register(registration)
        answered_at = self._clock.monotonic()
        self._state = wanted
        if wanted is not RunnerState.ACTIVE:
            await self._store.membership.want(self.runner_id, wanted)
        rows = await self._store.membership.runners()
        own = next((row for row in rows if row.runner_id == self.runner_id), None)
        if own is None:
            raise RunnerNotRegistered(f"runner {self.runner_id} was reaped while it registered")
        self._deadline = asked_at + self._trusted_s
        self._take_in(View(own.expires_at - ttl_us, asked_at, answered_at, rows))
        self._unwatch = self._metrics.cluster.lease_remaining.read_with(lambda: max(0.0, self.remaining_s))
        self._keeper = Keeper("holdfast-lease", self._keep, on_thread=self._store.lease_on_thread)
        self._keeper.start()
        return self.runner_id

    def listen(self, *, on_view: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Called on the runner's loop: after each renewal, and once when the incarnation was reaped."""
        self._on_view, self._on_lost = on_view, on_lost
        if self.lost:
            on_lost()

    @property
    def state(self) -> RunnerState:
        """What this runner says of itself; told to the store at once."""
        return self._state

    @state.setter
    def state(self, state: RunnerState) -> None:
        if state is not self._state:
            self._state = state
            self.renew_now()

    @property
    def remaining_s(self) -> float:
        """Seconds until the lease ends as far as this process can know; any thread may ask."""
        return self._deadline - self._clock.monotonic()

    @property
    def lapsed(self) -> bool:
        """Whether somebody else may have taken this runner's place: it answers nobody now. Any thread may ask."""
        return self._clock.monotonic() >= self._deadline and not self._store.alone

    @property
    def store_now_us(self) -> int:
        """The store's clock, at least; exact but for the time its last answer took."""
        return self.view.now_us + micros(self._clock.monotonic() - self.view.answered_at)

    def local(self, store_us: int) -> float:
        """The moment on the monotonic clock at which the store's clock surely shows this."""
        return self.view.answered_at + (store_us - self.view.now_us) / 1e6

    @property
    def may_reap(self) -> bool:
        return not self.lost and self._vigil.may_reap(self._clock.monotonic())

    @property
    def may_reap_at(self) -> float:
        """When it may, on the monotonic clock, if its renewals go on."""
        return self._vigil.not_before

    def renew_now(self) -> None:
        """Renews without waiting for its time, to tell or to learn something. Any thread may call it."""
        if self._keeper is not None:
            self._keeper.wake()

    async def fresh_view(self, *, timeout_s: float) -> bool:
        """Returns when `view` was asked for after this call; False where that took too long."""
        if self.lost:
            return False
        heard: asyncio.Future[None] = self._loop.create_future()
        self._asking.append((self._clock.monotonic(), heard))
        self.renew_now()
        try:
            async with asyncio.timeout(timeout_s):
                await heard
        except TimeoutError:
            return False
        finally:
            self._asking = [waiting for waiting in self._asking if waiting[1] is not heard]
        return not self.lost

    async def stop(self) -> None:
        """Renews no more, without leaving. Works twice and before `start`."""
        if self._keeper is not None:
            await self._keeper.stop()
        self._unwatch()
        self._release_asking()

    async def leave(self) -> None:
        """Ends the incarnation in order, and answers nobody from now on. Where the store is away the lease runs out."""
        await self.stop()
        self._deadline = float("-inf")
        if self.runner_id and not self.lost:
            try:
                await self._store.membership.leave(self.runner_id)
            except PersistenceError as error:
                logger.warning("runner %s could not leave, others will reap it: %s", self.runner_id, error)

    async def _keep(self, woken: asyncio.Event) -> None:
        """The keeper's whole life; on the lease thread's loop where there is one."""
        line: LeaseLine | None = None
        try:
            while not self.lost:
                woken.clear()
                pause_s = AGAIN_S
                if self._stalled_s() < self._settings.loop_stall_limit:
                    try:
                        line = line or await self._store.lease_line()
                        await self._renew(line)
                        pause_s = self._settings.lease_renewal
                    except Exception as error:
                        self._failed(error)
                        await _close(line)
                        line = None
                await _pause(woken, pause_s)
        finally:
            await _close(line)

    async def _renew(self, line: LeaseLine) -> None:
        asked_at = self._clock.monotonic()
        ttl_s = self._settings.lease_ttl
        async with asyncio.timeout(ttl_s / 2):
            renewal = await line.renew(self.runner_id, lease_ttl_us=micros(ttl_s), state=self._state)
        if renewal is None:
            self._deadline = float("-inf")
            self.lost = True
            self._renewals.labels(outcome="lost").inc()
            logger.error("runner %s was reaped: another runner has taken its place", self.runner_id)
            self._on_loop(self._tell_lost)
            return
        self._deadline = asked_at + self._trusted_s
        self._renewals.labels(outcome="ok").inc()
        view = View(renewal.now_us, asked_at, self._clock.monotonic(), renewal.runners)
        self._on_loop(lambda: self._tell(view))

    def _failed(self, error: Exception) -> None:
        self._renewals.labels(outcome="error").inc()
        logger.warning("the lease was not renewed, %.1f s are left: %r", self.remaining_s, error)

    def _on_loop(self, told: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(told)
        except RuntimeError:
            logger.debug("the runner's event loop has ended")

    def _tell(self, view: View) -> None:
        self._take_in(view)
        self._on_view()
        asking, self._asking = self._asking, []
        for since, heard in asking:
            if view.asked_at < since:
                self._asking.append((since, heard))
            elif not heard.done():
                heard.set_result(None)
        if self._asking:
            self.renew_now()

    def _take_in(self, view: View) -> None:
        self.view = view
        ended = any(row.expires_at <= view.now_us for row in view.runners)
        self._vigil.heard(asked_at=view.asked_at, answered_at=view.answered_at, now_us=view.now_us, ended=ended)

    def _tell_lost(self) -> None:
        self._release_asking()
        self._on_lost()

    def _release_asking(self) -> None:
        for _, heard in self._asking:
            if not heard.done():
                heard.set_result(None)


async def _pause(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return


async def _close(line: LeaseLine | None) -> None:
    """Closes the line, whatever it says."""
    if line is None:
        return
    try:
        await line.close()
    except Exception as error:
        logger.debug("the line for the lease did not close: %s", error)


def _nobody() -> None:
    """Nobody listens yet."""
