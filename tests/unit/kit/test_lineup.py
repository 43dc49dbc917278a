"""Lines: whoever came first goes first, whatever becomes of those in between."""

from __future__ import annotations

import asyncio

from holdfast.kit.lineup import Lineup, Place
from holdfast.testing.loop import run


def test_who_came_first_goes_first_and_lines_do_not_wait_for_each_other() -> None:
    async def main() -> None:
        lineup: Lineup[str] = Lineup()
        went: list[str] = []

        async def go(place: Place[str], name: str, ready_after_s: float) -> None:
            try:
                await asyncio.sleep(ready_after_s)
                await place.first()
                went.append(name)
            finally:
                place.leave()

        comers = [("a", "slow", 3.0), ("a", "quick", 0.0), ("a", "middling", 1.0), ("b", "other", 2.0)]
        places = [lineup.come(key) for key, _, _ in comers]
        await asyncio.gather(*(go(place, *comer[1:]) for place, comer in zip(places, comers, strict=True)))
        assert went == ["other", "slow", "quick", "middling"]
        assert "a" not in lineup and "b" not in lineup, "a line of nobody is not kept"

    run(main())


def test_who_leaves_out_of_turn_holds_up_nobody_and_lets_nobody_pass() -> None:
    async def main() -> None:
        lineup: Lineup[str] = Lineup()
        first, second, third = (lineup.come("a") for _ in range(3))
        waiting = asyncio.ensure_future(third.first())
        await asyncio.sleep(0)
        second.leave()
        second.leave()
        await asyncio.sleep(0)
        assert not waiting.done()
        first.leave()
        await waiting
        third.leave()

    run(main())


def test_the_wait_ends_with_its_time_and_can_be_cancelled() -> None:
    async def main() -> None:
        lineup: Lineup[str] = Lineup()
        first, second, third = (lineup.come("a") for _ in range(3))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await second.first(5.0)
        assert loop.time() - began == 5.0
        waiting = asyncio.ensure_future(third.first())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        third.leave()
        first.leave()
        await second.first()
        second.leave()

    run(main())
