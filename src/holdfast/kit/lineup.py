"""Lines of those who come to something one after the other, do what they do side by side, and go in as they came."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Place(Generic[K]):
    """A place in a line. Whoever has it leaves it in every case."""

    __slots__ = ("_first_now", "_key", "_lineup")

    def __init__(self, lineup: Lineup[K], key: K) -> None:
        self._lineup = lineup
        self._key = key
        self._first_now: asyncio.Future[None] | None = None

    async def first(self, timeout_s: float | None = None) -> None:
        """Returns when nobody is in front any more, or when the time is over."""
        if self._lineup.first(self._key) is not self:
            self._first_now = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._first_now], timeout=timeout_s)

    def leave(self) -> None:
        """Lets those behind come first, not before the next step of the loop. Works twice."""
        self._lineup.leave(self._key, self)

    def told(self) -> None:
        """Nobody is in front any more."""
        if self._first_now is not None and not self._first_now.done():
            self._first_now.set_result(None)


class Lineup(Generic[K]):
    """A line for each key. Belongs to the loop's thread; a line of nobody takes no memory."""

    def __init__(self) -> None:
        self._lines: dict[K, OrderedDict[Place[K], None]] = {}  # ordered: a dict finds its first slowly once many left

    def __contains__(self, key: K) -> bool:
        return key in self._lines

    def come(self, key: K) -> Place[K]:
        place = Place(self, key)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = OrderedDict()
        line[place] = None
        return place

    def first(self, key: K) -> Place[K] | None:
        """Who has nobody in front; None where nobody waits."""
        line = self._lines.get(key)
        return None if line is None else next(iter(line))

    def leave(self, key: K, place: Place[K]) -> None:
        line = self._lines.get(key)
        if line is None or place not in line:
            return
        del line[place]
        if not line:
            del self._lines[key]
        else:
            next(iter(line)).told()
