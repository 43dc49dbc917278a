"""Reading what an entity has stored: all of it, whatever is stored while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from holdfast.entities.catching_up import CatchingUp
from holdfast.entities.inflight import Inflight

ROOM = 4


class Played:
    """A store in which something is stored while it is read, and an entity that has room or has not."""

    def __init__(self, *stored: int) -> None:
        self.stored = list(stored)
        self.arriving: list[int] = []
        self.delivered: list[int] = []
        self.activation = self.fresh()
        around: Any = SimpleNamespace(reader=self, clock=SimpleNamespace(now_us=lambda: 0))
        self.replaced = False
        self.live = {"a": self.activation}
        manager: Any = SimpleNamespace(shards=SimpleNamespace(moment=0), closed=None, live=self.live)
        self.catching_up = CatchingUp(around, manager=manager, inflight=Inflight(), delivery=cast(Any, self))

    def fresh(self) -> SimpleNamespace:
        """An activation of which more is stored."""
        return SimpleNamespace(address="a", shard=0, hosted=SimpleNamespace(mailbox=ROOM), overflow=1)

    async def pending_of(self, address: str, *, after: int, limit: int, due_before: int) -> Sequence[Any]:
        found = [SimpleNamespace(id=number) for number in self.stored if number not in self.delivered][:limit]
        await asyncio.sleep(0)
        for number in self.arriving:
            self.stored.append(number)
            self.deliver_stored([SimpleNamespace(id=number)])
        self.arriving = []
        if self.replaced:
            self.activation = self.live["a"] = self.fresh()
            self.replaced = False
        return found

    def deliver_stored(self, rows: Iterable[Any], moment: int | None = None) -> None:
        for row in rows:
            if self.activation.overflow:
                self.activation.overflow += 1
            else:
                self.delivered.append(row.id)


async def test_what_was_stored_while_it_was_read_is_read_too() -> None:
    played = Played(1, 2)
    played.arriving = [3]
    await played.catching_up.refill(cast(Any, played.activation))
    assert played.delivered == [1, 2, 3]
    assert not played.activation.overflow


async def test_where_more_is_stored_than_there_is_room_for_the_rest_comes_later() -> None:
    played = Played(*range(ROOM))
    played.arriving = [ROOM]
    await played.catching_up.refill(cast(Any, played.activation))
    assert played.delivered == list(range(ROOM))
    assert played.activation.overflow
    await played.catching_up.refill(cast(Any, played.activation))
    assert played.delivered == list(range(ROOM + 1))
    assert not played.activation.overflow


async def test_an_activation_that_takes_the_place_of_the_one_that_read_is_refilled() -> None:
    """It wanted to be, while somebody read already."""
    played = Played(1, 2)
    played.replaced = True
    await played.catching_up.refill(cast(Any, played.activation))
    assert played.delivered == [1, 2]
    assert not played.activation.overflow


async def test_one_that_is_replaced_gets_no_more_than_there_is_room_for() -> None:
    played = Played(*range(ROOM + 1))
    played.replaced = True
    await played.catching_up.refill(cast(Any, played.activation))
    assert played.delivered == list(range(ROOM))
    assert played.activation.overflow
