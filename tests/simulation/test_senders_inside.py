"""Code of a runner's own process sends in order too, also while an entity moves to that very runner."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from holdfast import App, Entity, message, testing
from holdfast.storage.memory.store import MemoryStore
from holdfast.testing.gate import Cable, GatedStore
from holdfast.testing.member import Place
from holdfast.verify.simulate.plan import Weather
from holdfast.verify.simulate.world import Sky, StormyWay

app = App("inside")
ACCOUNTS = [f"a{number}" for number in range(4)]


@dataclass
class Heard:
    numbers: list[int] = field(default_factory=list[int])


@app.entity
class Account(Entity[Heard]):
    @message(durable=True)
    async def hear(self, number: int) -> None:
        self.state.numbers.append(number)

    @message(readonly=True)
    async def heard(self) -> list[int]:
        return self.state.numbers


def _slow_store(place: Place, process: str, cable: Cable) -> GatedStore:
    sky = Sky(Weather(store_late_s=0.002))
    return GatedStore(MemoryStore(clock=place.clock, tables=place.tables), StormyWay(cable, sky, len(process)))


async def test_what_was_left_in_the_inbox_for_a_dead_owner_comes_before_what_is_sent_to_the_new_one_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Place, "open_store", _slow_store)

    async def send(account: str) -> None:
        for number in range(80):
            await app.ref(Account, account).hear.send(number)
            await asyncio.sleep(0.1)

    async def all_send() -> None:
        await asyncio.gather(*map(send, ACCOUNTS))

    async with testing.cluster(app, runners=2) as t:
        sending = asyncio.ensure_future(t.inside(1, all_send()))
        await asyncio.sleep(0.5)
        await t.crash(2)
        await sending
        await t.settle()
        for account in ACCOUNTS:
            assert await app.ref(Account, account).heard() == list(range(80))
