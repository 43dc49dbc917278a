"""A lease: kept, in a thread too; lapsed before anybody has noticed; lost; not renewed for a loop that stands still."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from holdfast.cluster.lease import Lease
from holdfast.errors import PersistenceError
from holdfast.kit.clock import SystemClock
from holdfast.metrics import MetricsService
from holdfast.model.cluster import RunnerState
from holdfast.settings import ClusterSettings
from holdfast.testing.loop import run
from tests.support.ownership import Member, until
from tests.support.shared_store import FakeStore, SharedStore, refuse


@pytest.fixture
def quiet() -> Iterator[None]:
    """A lease that can't be kept says so again and again."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


async def started(member: Member) -> Member:
    await member.lease.start(address="", version="1", types=("Cart",), groups=("default",))
    return member


def test_a_lease_that_is_kept_does_not_lapse() -> None:
    async def main() -> None:
        member = await started(Member(SharedStore()))
        for _ in range(100):
            await asyncio.sleep(0.3)
            assert not member.lease.lapsed
            assert member.lease.remaining_s > 2.5
        await member.lease.leave()

    run(main())


@pytest.mark.usefixtures("quiet")
def test_a_lease_that_cannot_be_renewed_lapses_before_the_store_ends_it() -> None:
    async def main() -> None:
        shared = SharedStore()
        member = await started(Member(shared))
        member.store.lease_calls.before = refuse(PersistenceError("the store is away"))
        await until(lambda: member.lease.lapsed)
        assert shared.runners[member.id].expires_at > shared.now_us()
        assert member.metrics.cluster.lease_renewals.value(outcome="error") > 1
        await member.lease.leave()

    run(main())


@pytest.mark.usefixtures("quiet")
def test_a_late_renewal_of_who_was_not_reaped_is_valid() -> None:
    async def main() -> None:
        member = await started(Member(SharedStore()))
        failing = refuse(PersistenceError("the store is away"))
        before = member.store.lease_calls.before
        member.store.lease_calls.before = failing
        await until(lambda: member.lease.lapsed)
        member.store.lease_calls.before = before
        await until(lambda: not member.lease.lapsed)
        assert not member.lease.lost
        await member.lease.leave()

    run(main())


@pytest.mark.usefixtures("quiet")
def test_after_a_failure_the_line_is_opened_anew() -> None:
    async def main() -> None:
        member = await started(Member(SharedStore()))
        await until(lambda: member.store.lines == 1)
        before = member.store.lease_calls.before
        member.store.lease_calls.before = refuse(PersistenceError("the line is broken"))
        await until(lambda: member.store.lines > 1)
        member.store.lease_calls.before = before
        await member.lease.leave()

    run(main())


def test_a_loop_that_stands_still_for_too_long_gives_up_its_lease() -> None:
    async def main() -> None:
        member = await started(Member(SharedStore()))
        member.stalled_s = 10.0
        await asyncio.sleep(20)
        assert not member.lease.lapsed
        member.stalled_s = 30.0
        await until(lambda: member.lease.lapsed)
        member.stalled_s = 0.0
        await until(lambda: not member.lease.lapsed)
        await member.lease.leave()

    run(main())


def test_what_a_runner_says_of_itself_is_told_at_once() -> None:
    async def main() -> None:
        shared = SharedStore()
        member = await started(Member(shared))
        await asyncio.sleep(0.5)
        member.lease.state = RunnerState.DRAINING
        assert await until(lambda: shared.runners[member.id].state == "draining") < 0.1
        await member.lease.leave()

    run(main())


def test_a_fresh_view_is_one_that_was_asked_for_later() -> None:
    async def main() -> None:
        shared = SharedStore()
        member = await started(Member(shared))
        await asyncio.sleep(0.5)
        shared.jumped_us = 5_000_000
        assert await member.lease.fresh_view(timeout_s=1.0)
        assert member.lease.store_now_us >= shared.now_us()
        await member.lease.leave()

    run(main())


def test_a_fresh_view_that_takes_too_long_is_none() -> None:
    async def main() -> None:
        member = await started(Member(SharedStore()))
        await asyncio.sleep(0.5)

        async def slow(_: str) -> None:
            await asyncio.sleep(2.0)

        member.store.lease_calls.before = slow
        assert not await member.lease.fresh_view(timeout_s=1.0)
        await member.lease.leave()

    run(main())


def test_who_was_reaped_has_lapsed_and_hears_of_it_once() -> None:
    async def main() -> None:
        shared, heard = SharedStore(), list[str]()
        member = await started(Member(shared))
        member.lease.listen(on_view=lambda: None, on_lost=lambda: heard.append("lost"))
        shared.end(member.id)
        await until(lambda: member.lease.lost)
        assert member.lease.lapsed
        await asyncio.sleep(10)
        assert heard == ["lost"]
        assert member.metrics.cluster.lease_renewals.value(outcome="lost") == 1
        await member.lease.leave()

    run(main())


def test_who_has_left_answers_nobody() -> None:
    async def main() -> None:
        shared = SharedStore()
        member = await started(Member(shared))
        await member.lease.leave()
        await member.lease.leave()
        assert member.lease.lapsed
        assert shared.runners == {}

    run(main())


@pytest.fixture
def threaded() -> FakeStore:
    return FakeStore(SharedStore(), lease_on_thread=True)


async def test_a_thread_keeps_the_lease_while_the_loop_is_busy(threaded: FakeStore) -> None:
    renewed, threads = threading.Event(), set[str]()

    async def after(name: str) -> None:
        threads.add(threading.current_thread().name)
        renewed.set()

    threaded.lease_calls.after = after
    settings = ClusterSettings(lease_ttl=60.0, lease_renewal=0.01)
    lease = Lease(
        store=threaded, clock=SystemClock(), settings=settings, metrics=MetricsService(), stalled_s=lambda: 0.0
    )
    await lease.start(address="", version="1", types=(), groups=("default",))
    for _ in range(3):
        renewed.clear()
        assert renewed.wait(20.0), "nobody renews while this thread waits"
    assert threads == {"holdfast-lease"}
    assert await lease.fresh_view(timeout_s=20.0)
    await lease.leave()
    await lease.leave()
    assert "holdfast-lease" not in {thread.name for thread in threading.enumerate()}


async def test_a_lease_is_left_although_a_renewal_hangs(threaded: FakeStore) -> None:
    hanging = threading.Event()

    async def hang(_: str) -> None:
        hanging.set()
        await asyncio.Event().wait()

    threaded.lease_calls.before = hang
    lease = Lease(
        store=threaded,
        clock=SystemClock(),
        settings=ClusterSettings(lease_ttl=60.0),
        metrics=MetricsService(),
        stalled_s=lambda: 0.0,
    )
    await lease.start(address="", version="1", types=(), groups=("default",))
    assert hanging.wait(20.0)
    await lease.leave()
