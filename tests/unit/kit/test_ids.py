from __future__ import annotations

import asyncio

import pytest

from holdfast.kit.ids import BLOCK_AGE_MAX_S, IdPool


class Counter:
    def __init__(self) -> None:
        self.next = 1
        self.away = False

    async def allocate(self, count: int) -> int:
        if self.away:
            raise ConnectionError
        first, self.next = self.next, self.next + count
        await asyncio.sleep(0)
        return first


async def test_ids_ascend_and_no_two_pools_share_one() -> None:
    counter = Counter()
    first, second = IdPool(counter.allocate, block=4), IdPool(counter.allocate, block=4)
    taken = [[await pool.take() for _ in range(6)] for pool in (first, second)]
    assert all(ids == sorted(ids) for ids in taken)
    assert not set(taken[0]) & set(taken[1])


async def test_after_a_renewal_ids_are_above_all_that_others_have_taken() -> None:
    counter = Counter()
    ours, theirs = IdPool(counter.allocate, block=100), IdPool(counter.allocate, block=100)
    await ours.take()
    last = max([await theirs.take() for _ in range(10)])
    assert ours.take_now() < last
    renewing = asyncio.ensure_future(ours.renew())
    await asyncio.sleep(0)
    assert ours.take_now() == 0
    await renewing
    assert ours.take_now() > last


async def test_a_block_that_was_on_its_way_when_ids_were_renewed_is_not_used() -> None:
    counter = Counter()
    pool = IdPool(counter.allocate, block=100)
    taking = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)  # it has its block, and does not know it yet
    counter.next = 1000
    await pool.renew()
    assert await taking >= 1000


async def test_who_takes_ids_slowly_gives_an_old_block_up() -> None:
    """Else its young rows would have lower ids than everybody's old ones."""
    counter, now = Counter(), 0.0
    slow, busy = IdPool(counter.allocate, block=100, monotonic=lambda: now), IdPool(counter.allocate, block=100)
    first = await slow.take()
    last = max([await busy.take() for _ in range(10)])
    now = BLOCK_AGE_MAX_S - 1
    assert slow.take_now() == first + 1
    now += 1
    assert slow.take_now() == 0
    assert await slow.take() > last


async def test_an_old_block_is_used_on_where_there_is_no_newer_one() -> None:
    counter, now = Counter(), 0.0
    pool = IdPool(counter.allocate, block=2, monotonic=lambda: now)
    first = await pool.take()
    counter.away, now = True, BLOCK_AGE_MAX_S
    assert await pool.take() == first + 1
    with pytest.raises(ConnectionError):
        await pool.take()
