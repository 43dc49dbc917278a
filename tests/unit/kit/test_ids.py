from __future__ import annotations

import asyncio

from holdfast.kit.ids import IdPool


class Counter:
    def __init__(self) -> None:
        self.next = 1

    async def allocate(self, count: int) -> int:
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
    await ours.renew()
    assert ours.take_now() > last
