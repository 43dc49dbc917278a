"""Which shards this runner serves, and how that changes.

Every runner looks at the same rows, makes the same plan (`assignment`), and does its own part of it: it reaps whose
lease has ended, claims what nobody owns and the plan gives to it, takes up what it was handed, and hands over what the
plan gives to others. Nobody coordinates; the store decides where two disagree.

A look is taken when a renewal shows that something has changed, when a lease that was not renewed ends, when another
runner says so, and now and then. One look at a time; what takes long, taking and giving shards, goes on beside it.

`serves` is asked by the engines before new work of a shard is admitted. It is true from the moment a shard's stored
work has been read until its gate is closed, and never while this runner's lease may have ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from random import Random

from holdfast.errors import FencedOut
from holdfast.kit.clock import Clock
from holdfast.kit.tasks import TaskOwner
from holdfast.metrics import MetricsService
from holdfast.model.cluster import RunnerRow, RunnerState
from holdfast.ports.membership import Membership
from holdfast.settings import ClusterSettings

from .assignment import assign
from .giving import Giving
from .handovers import HandOvers
from .holdings import Holdings, Phase
from .knowledge import NOBODY
from .lease import Lease
from .lookout import AGAIN_S, ANSWER_S, Lookout
from .outlook import CALM_S, own_state
from .routing import Routes
from .taking import Taking
from .tenant import HandOver, Notify, Tenant

logger = logging.getLogger("holdfast.cluster")

SLACK_S = 0.001
"""Timers are set so much later than their moment, so that it has surely come when they fire."""


class Ownership:
    """This incarnation's shards; the runner's `Territory`. Belongs to the runner's loop."""

    def __init__(
        self,
        *,
        membership: Membership,
        lease: Lease,
        routes: Routes,
        clock: Clock,
        random: Random,
        settings: ClusterSettings,
        metrics: MetricsService,
        notify: Notify,
    ) -> None:
        """`routes` is told whatever is learnt here."""
        self._membership = membership
        self._lease = lease
        self._clock = clock
        self._random = random
        self._settings = settings
        self._metrics = metrics
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._holdings = Holdings()
        self._lookout = Lookout(
            membership=membership, lease=lease, routes=routes, holdings=self._holdings, clock=clock, random=random
        )
        self._plan: dict[int, int] = {}
        self._present: set[int] = set()
        self._tasks = TaskOwner("holdfast-ownership")
        self._last_task = TaskOwner("holdfast-ownership-end")
        self._ending: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._progress = asyncio.Event()
        self._ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._again_at = float("inf")
        self._leaving = self._stopped = False
        self._to_tell: list[HandOver] = []
        self._unwatch: Sequence[Callable[[], None]] = ()
        self._tenant: Tenant
        self._taking: Taking
        self._giving: Giving

    async def start(self, tenant: Tenant) -> None:
        """Takes the shards that are free and due to this runner, and serves them when it returns.

        The lease must have been started and the shard groups made. Raises PersistenceError; then `stop` is due.
        """
        self._tenant = tenant
        self._holdings.runner_id = self._lease.runner_id
        self._taking, self._giving = self._mover_in(tenant), self._mover_out(tenant)
        self._lookout.see(self._lease.view.runners)
        await self._look()
        await self._taking.idle()
        self._watch()
        self._lease.listen(on_view=self._viewed, on_lost=self._lose)
        if not self._stopped:
            self._tasks.start(self._tend(), name="looks")

    def serves(self, shard: int) -> bool:
        return shard in self._holdings.served and not self._lease.lapsed

    @property
    def owned(self) -> frozenset[int]:
        """Its shards, also those that are being taken up or given away."""
        return frozenset(self._holdings.phases)

    @property
    def served(self) -> frozenset[int]:
        return frozenset(self._holdings.served)

    @property
    def state(self) -> RunnerState:
        return self._lease.state

    def handed(self, handovers: Iterable[HandOver]) -> None:
        """Another runner says that it has handed these over; late words change nothing."""
        if not self._stopped:
            told = {handover.row.number: handover for handover in handovers}
            fresh = self._lookout.learn(handover.row for handover in told.values())
            self._taking.begin(fresh, closed_s={shard: told[shard].closed_s for shard in fresh})

    def suspect(self) -> None:
        """A write of this runner was fenced out: the store is asked at once whether it has been reaped."""
        self._lease.renew_now()

    async def drain(self) -> bool:
        """Gives everything away and takes nothing any more; returns when it is done, or nobody can take the rest.

        Whether nothing is left. What is left is served until `stop`, and given to whoever may take it meanwhile.
        """
        if not self._leaving and not self._stopped:
            self._leaving = True
            self._look_again()
        while not self._stopped:
            self._progress.clear()
            if not self._lookout.stale and not self._under_way():
                break
            await self._progress.wait()
        return not self._holdings.phases

    async def ended(self) -> None:
        """Returns when this incarnation was reaped and its tenant has heard of it, or when it was stopped."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Serves nothing any more and leaves the cluster; what is left is free for the others. Works twice.

        The engines have stopped before. An incarnation that was reaped has nothing to leave.
        """
        self._close()
        await self._tasks.stop()
        if not self._lease.lost:
            self._metrics.cluster.shard_moves.labels(direction="out").inc(len(self._holdings.phases))
        self._holdings.drop_all()
        for unwatch in self._unwatch:
            unwatch()
        self._unwatch = ()
        await self._lease.leave()
        if self._ending is not None:
            await asyncio.wait([self._ending])
        self._ended.set()

    async def _tend(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._look()
            except FencedOut:
                self._lease.renew_now()
                self._look_soon(AGAIN_S)
            except Exception as error:
                logger.warning("the cluster could not be looked at; it is tried again: %r", error)
                self._lookout.stale = True
                self._look_soon(AGAIN_S)
            self._progress.set()

    async def _look(self) -> None:
        self._again_at = float("inf")
        await self._lookout.reap()
        if self._lookout.stale or self._lookout.check_due:
            await self._read()
        if self._obey():
            await self._lease.fresh_view(timeout_s=ANSWER_S)  # before anything is given away, others should know why
        self._tell_who_left()
        self._make_plan()
        await self._claim()
        self._giving.give(await self._going())
        self._set_timer()

    def _tell_who_left(self) -> None:
        before, self._present = self._present, {row.runner_id for row in self._lookout.outlook.rows}
        if before - self._present:
            self._tenant.departed()

    def _make_plan(self) -> None:
        owners = {number: row.runner_id for number, row in self._holdings.known.rows.items()}
        now_us = self._lease.store_now_us
        self._plan = assign(self._rows(), self._lookout.outlook.groups, owners, now_us=now_us)

    async def _read(self) -> None:
        self._take_up(await self._lookout.read())

    def _take_up(self, fresh: Iterable[int]) -> None:
        if not self._stopped:
            self._taking.begin(fresh)

    async def _claim(self) -> None:
        """Takes what is due to this runner and nobody owns. Where others were faster, the look is taken again."""
        alive, own = {row.runner_id for row in self._lookout.outlook.rows}, self._lease.runner_id
        owner, phases = self._holdings.known.owner, self._holdings.phases
        free = [s for s, to in self._plan.items() if to == own and s not in phases and owner(s) not in alive]
        if not free:
            return
        self._lookout.stale = True  # until it is known how it went
        rows = await self._membership.claim(own, free)
        if len(rows) < len(free):
            self._look_soon(self._random.uniform(0.0, AGAIN_S))
        else:
            self._lookout.stale = False
        self._take_up(self._lookout.learn(rows))

    async def _going(self) -> list[int]:
        """The shards to give away now.

        A draining runner is in a hurry. For balance one waits until nobody comes or goes, and makes the plan again from
        what has just been read: on older rows two runners could give each other shards in turn.
        """
        going = self._outbound()
        if not going or self._lease.state is RunnerState.DRAINING:
            return going
        if not self._lookout.is_calm:
            return []
        if not await self._lease.fresh_view(timeout_s=ANSWER_S) or self._lookout.stale:
            self._look_soon(AGAIN_S)
            return []
        await self._read()
        self._make_plan()
        return self._outbound()

    def _outbound(self) -> list[int]:
        return [shard for shard in self._holdings.served if self._receiver_of(shard) is not None]

    def _viewed(self) -> None:
        """A renewal was answered."""
        self._lookout.see(self._lease.view.runners)
        if self._lookout.stale or self._obey():
            self._look_again()
        else:
            self._set_timer()

    def _obey(self) -> bool:
        """Does what its operator wants; whether that is something new."""
        state = own_state(self._lookout.outlook.row(self._lease.runner_id), leaving=self._leaving)
        if state is self._lease.state:
            return False
        logger.info("runner %s is %s", self._lease.runner_id, state)
        self._lease.state = state
        return True

    def _rows(self) -> list[RunnerRow]:
        """All runners; oneself as one knows oneself, which the store may not know yet."""
        own, state = self._lease.runner_id, self._lease.state
        return [row._replace(state=state) if row.runner_id == own else row for row in self._lookout.outlook.rows]

    def _receiver_of(self, shard: int) -> RunnerRow | None:
        """Who is to have the shard, where that is somebody else."""
        receiver = self._plan.get(shard, NOBODY)
        return None if receiver in (self._lease.runner_id, NOBODY) else self._lookout.outlook.row(receiver)

    def _under_way(self) -> bool:
        """Whether some shard is being moved, or is about to, or has moved and its next owner was not told."""
        phases = self._holdings.phases.items()
        return bool(self._to_tell) or any(
            phase is not Phase.SERVED or self._receiver_of(shard) is not None for shard, phase in phases
        )

    def _kept(self, shard: int) -> None:
        """It was not given away after all."""
        self._taking.begin((shard,), anew=False)
        self._lookout.stale = True
        self._look_soon(AGAIN_S)

    def _moved(self, handover: HandOver) -> None:
        self._take_up(self._lookout.learn((handover.row,)))
        if not self._to_tell:
            self._loop.call_soon(self._tell_moved)  # those of one statement together: so they are taken up together
        self._to_tell.append(handover)

    def _tell_moved(self) -> None:
        told, self._to_tell = self._to_tell, []
        for runner_id in dict.fromkeys(handover.row.runner_id for handover in told):
            if (receiver := self._lookout.outlook.row(runner_id)) is not None:
                self._notify(receiver, [handover for handover in told if handover.row.runner_id == runner_id])
        self._progress.set()

    def _gave(self) -> None:
        """All that was to go has gone. Others gave at the same time, so whether it came out even is looked at again."""
        self._lookout.check_within(CALM_S)
        self._set_timer()

    def _served(self) -> None:
        """Shards were taken up; perhaps they are to go on."""
        self._progress.set()
        if any(self._receiver_of(shard) is not None for shard in self._holdings.served):
            self._woken.set()

    def _look_again(self) -> None:
        self._lookout.stale = True
        self._woken.set()

    def _look_soon(self, seconds: float) -> None:
        self._again_at = min(self._again_at, self._clock.monotonic() + seconds)
        self._set_timer()

    def _set_timer(self) -> None:
        self._cancel_timer()
        if not self._stopped:
            wait_s = min(self._again_at, self._lookout.next_moment) - self._clock.monotonic()
            self._timer = self._loop.call_later(max(0.0, wait_s) + SLACK_S, self._woken.set)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._stopped = True
        self._holdings.served.clear()
        self._cancel_timer()
        self._progress.set()

    def _lose(self) -> None:
        if not self._stopped:
            self._close()
            self._holdings.drop_all()
            self._ending = self._last_task.start(self._end(), name="lost")

    async def _end(self) -> None:
        try:
            await self._tasks.stop()
            await self._tenant.lost()
        except Exception:
            logger.exception("what ran under a lease that was lost did not end cleanly")
        self._ended.set()

    def _mover_in(self, tenant: Tenant) -> Taking:
        return Taking(
            tenant=tenant,
            holdings=self._holdings,
            clock=self._clock,
            metrics=self._metrics,
            tasks=self._tasks,
            on_served=self._served,
        )

    def _mover_out(self, tenant: Tenant) -> Giving:
        return Giving(
            tenant=tenant,
            holdings=self._holdings,
            handovers=HandOvers(membership=self._membership, tasks=self._tasks),
            clock=self._clock,
            metrics=self._metrics,
            tasks=self._tasks,
            receiver_of=self._receiver_of,
            keep=self._kept,
            moved=self._moved,
            read=self._read,
            done=self._gave,
            release_s=self._settings.drain_timeout,
            certain_s=self._settings.lease_ttl,
        )

    def _watch(self) -> None:
        cluster, everywhere = self._metrics.cluster, frozenset[tuple[str, str]]()
        outlook, lease, phases = self._lookout.outlook, self._lease, self._holdings.phases
        self._unwatch = (
            cluster.runners.read_with(lambda: {everywhere: float(len(outlook.rows))}),
            cluster.runners_healthy.read_with(lambda: {everywhere: float(outlook.valid(lease.store_now_us))}),
            cluster.shards.read_with(lambda: {everywhere: float(outlook.shards)}),
            cluster.shards_assigned.read_with(lambda: {everywhere: float(len(phases))}),
        )
