"""What is due later: the nearest in memory, the rest in the store, each at its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, cast

from holdfast.entities.due import HEAP_SLACK, DueQueue
from holdfast.entities.inflight import Inflight
from holdfast.entities.shards import EVERYTHING, Shards
from holdfast.entities.surroundings import Surroundings
from holdfast.model.ids import SECOND_US
from holdfast.model.message import MessageRow
from holdfast.testing import run
from holdfast.testing.loop import LoopClock

PAGE_ROWS = 4
SHARDS = 2


class Rig:
    """A queue over a store that is a list; the shard of a row is its id modulo the shards."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.clock = LoopClock(loop)
        self.stored: list[MessageRow] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.delivered: list[tuple[int, int]] = []
        around = SimpleNamespace(
            reader=self, clock=self.clock, loop=loop, settings=SimpleNamespace(page_rows=PAGE_ROWS)
        )
        self.shards = Shards(EVERYTHING, lambda _: 0)
        self.inflight = Inflight()
        self.queue = DueQueue(
            cast(Surroundings, around),
            shards=self.shards,
            inflight=self.inflight,
            deliver=self.deliver,
            crowd=self.crowd,
        )
        self.began_us = self.clock.now_us()

    async def upcoming(
        self, *, due_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        rows = [row for row in self.stored if row.due_at > due_after and (shards is None or row.shard in shards)]
        await asyncio.sleep(0)
        self.meanwhile()
        return sorted(rows, key=lambda row: (row.due_at, row.id))[:limit]

    def deliver(self, rows: list[MessageRow]) -> None:
        for row in rows:
            self.stored.remove(row)
            self.delivered.append((row.id, round((self.clock.now_us() - self.began_us) / SECOND_US)))

    def crowd(self) -> None:
        raise AssertionError("nothing here is due in a crowd")

    def put(self, number: int, seconds: float, *, name: str | None = None) -> MessageRow:
        row = MessageRow(
            id=number, shard=number % SHARDS, entity_type="T", entity_id="t", method="m", payload=b"", payload_hash=b"",
            key=None, headers=None, due_at=self.began_us + round(seconds * SECOND_US), name=name, every_us=0,
            generation=number, deliveries=0, crashes=0, last_error=None, created_at=0, admitted_by=1,
        )  # fmt: skip
        self.stored.append(row)
        return row

    async def adopt(self, shard: int) -> None:
        self.shards.take({shard})
        await self.queue.adopt({shard})


def on_a_rig(main: Callable[[Rig], Awaitable[Any]]) -> Rig:
    async def with_rig() -> Rig:
        rig = Rig()
        try:
            await main(rig)
        finally:
            await rig.queue.stop()
        return rig

    return run(with_rig())


def test_one_that_is_due_before_those_that_fill_the_memory_is_not_late() -> None:
    async def main(rig: Rig) -> None:
        await rig.adopt(0)
        for number in range(0, 20, 2):
            rig.queue.add(rig.put(number, 3600))
        rig.queue.add(rig.put(100, 10))
        await asyncio.sleep(60)

    assert on_a_rig(main).delivered == [(100, 10)]


def test_what_only_the_store_has_is_not_late_behind_what_is_due_beyond_it() -> None:
    """One shard's page is full, and another's few rows are due long after it."""

    async def main(rig: Rig) -> None:
        rig.put(1, 3600)
        for number in range(2, 22, 2):
            rig.put(number, number)
        await rig.adopt(1)
        await rig.adopt(0)
        await asyncio.sleep(100)

    assert on_a_rig(main).delivered == [(number, number) for number in range(2, 22, 2)]


def test_what_was_handled_or_cancelled_while_it_was_read_is_not_handed_out() -> None:
    async def main(rig: Rig) -> None:
        rig.put(0, 10)
        cancelled = rig.put(2, 20)

        def cancel() -> None:
            rig.stored.remove(cancelled)
            rig.inflight.passes(cancelled.id)

        rig.meanwhile = cancel
        await rig.adopt(0)
        await asyncio.sleep(60)

    assert on_a_rig(main).delivered == [(0, 10)]


def test_all_come_in_their_order_whatever_fits_into_memory() -> None:
    async def main(rig: Rig) -> None:
        await rig.adopt(0)
        for place in range(60):
            seconds = 1 + place * 37 % 60
            rig.queue.add(rig.put(2 * seconds, seconds))
        assert len(rig.queue) <= 2 * PAGE_ROWS
        await asyncio.sleep(100)

    assert on_a_rig(main).delivered == [(2 * seconds, seconds) for seconds in range(1, 61)]


def test_a_timer_that_is_set_anew_again_and_again_takes_no_more_memory() -> None:
    async def main(rig: Rig) -> None:
        await rig.adopt(0)
        rig.queue.add(rig.put(0, 10))
        for number in range(2, 10_000, 2):
            rig.queue.add(rig.put(number, 3600 + number, name="idle"))
            rig.queue.remove(rig.stored.pop().id)
        assert len(rig.queue._heap) <= 2 * HEAP_SLACK

    on_a_rig(main)
