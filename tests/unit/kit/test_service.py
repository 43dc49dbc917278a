"""Services start, become ready and stop; a failing turn does not end a periodic one."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.kit.service import Periodic, Services
from holdfast.testing.loop import run


class Turns:
    """A turn that notes when it ran, and raises as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.at: list[float] = []
        self.failures = failures

    async def __call__(self) -> None:
        self.at.append(asyncio.get_running_loop().time())
        if len(self.at) <= self.failures:
            raise OSError("disk on fire")


def test_turns_come_at_their_interval() -> None:
    """The first at once, the others after each pause."""

    async def main() -> None:
        turns = Turns()
        service = Periodic("sweeper", turns, every_s=10)
        await service.start()
        await service.ready()
        await asyncio.sleep(35)
        await service.stop()
        await asyncio.sleep(35)
        assert turns.at == pytest.approx([0, 10, 20, 30])

    run(main())


def test_a_failing_turn_is_reported_and_the_next_one_comes() -> None:
    """Ready only when a turn has succeeded; each failure is told once."""
    heard: list[str] = []

    async def main() -> None:
        turns = Turns(failures=2)
        service = Periodic("sweeper", turns, every_s=10, on_error=lambda name, error: heard.append(f"{name}: {error}"))
        await service.start()
        await service.ready()
        assert asyncio.get_running_loop().time() == pytest.approx(20)
        await service.stop()

    run(main())
    assert heard == ["sweeper: disk on fire"] * 2


def test_waking_runs_the_next_turn_now() -> None:
    """Whoever knows that there is work need not wait for the interval."""

    async def main() -> None:
        turns = Turns()
        service = Periodic("sweeper", turns, every_s=10)
        await service.start()
        await asyncio.sleep(3)
        service.wake()
        await asyncio.sleep(1)
        await service.stop()
        assert turns.at == pytest.approx([0, 3])

    run(main())


def test_waking_during_a_turn_is_not_lost() -> None:
    """The turn that is running may have looked before the work came: another one follows."""

    async def main() -> None:
        begun: list[float] = []

        async def slow() -> None:
            begun.append(asyncio.get_running_loop().time())
            await asyncio.sleep(2)

        service = Periodic("sweeper", slow, every_s=100)
        await service.start()
        await asyncio.sleep(1)
        service.wake()
        await asyncio.sleep(2)
        await service.stop()
        assert begun == pytest.approx([0, 2])

    run(main())


def test_waiting_for_a_service_that_stops_is_an_error() -> None:
    """Nobody waits for ever for what will not come."""

    async def main() -> None:
        service = Periodic("sweeper", Turns(failures=1000), every_s=10)
        await service.start()
        waiting = asyncio.create_task(service.ready())
        await asyncio.sleep(50)
        await service.stop()
        await service.stop()
        with pytest.raises(RuntimeError, match="sweeper stopped before it was ready"):
            await waiting

    run(main())


async def test_a_periodic_service_stops_before_it_was_started() -> None:
    """Stop needs no start."""
    await Periodic("sweeper", Turns(), every_s=1).stop()


class Part:
    """A service that notes what is asked of it, and can be told to fail."""

    def __init__(self, name: str, journal: list[str], fails: str = "") -> None:
        self.name = name
        self.journal = journal
        self.fails = fails

    async def _note(self, verb: str) -> None:
        self.journal.append(f"{verb} {self.name}")
        if verb == self.fails:
            raise OSError(f"{self.name} can't {verb}")

    async def start(self) -> None:
        await self._note("start")

    async def ready(self) -> None:
        await self._note("ready")

    async def stop(self) -> None:
        await self._note("stop")


async def test_services_start_in_order_and_stop_in_reverse() -> None:
    """What was built on something goes before it does."""
    journal: list[str] = []
    services = Services([Part("store", journal), Part("engine", journal)])
    await services.stop()
    await services.start()
    await services.ready()
    await services.stop()
    await services.stop()
    assert journal == ["start store", "start engine", "ready store", "ready engine", "stop engine", "stop store"]


async def test_a_failed_start_leaves_nothing_running() -> None:
    """The one that failed and those before it are stopped; the error passes on."""
    journal: list[str] = []
    services = Services([Part("store", journal), Part("engine", journal, fails="start"), Part("web", journal)])
    with pytest.raises(OSError, match="engine can't start"):
        await services.start()
    assert journal == ["start store", "start engine", "stop engine", "stop store"]


async def test_one_that_does_not_stop_cleanly_does_not_keep_the_others() -> None:
    """All are stopped, then all errors are raised."""
    journal: list[str] = []
    services = Services([Part("store", journal), Part("engine", journal, fails="stop")])
    await services.start()
    with pytest.raises(ExceptionGroup) as raised:
        await services.stop()
    assert [str(error) for error in raised.value.exceptions] == ["engine can't stop"]
    assert journal[-1] == "stop store"


def test_a_stop_in_the_pass_of_a_wake_up_takes_no_time() -> None:
    """Neither may swallow the other."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for passes in range(4):
            service = Periodic("sweeper", Turns(), every_s=1000)
            await service.start()
            await service.ready()
            await asyncio.sleep(1)
            service.wake()
            for _ in range(passes):
                await asyncio.sleep(0)
            began = loop.time()
            await service.stop()
            assert loop.time() == pytest.approx(began)

    run(main())
