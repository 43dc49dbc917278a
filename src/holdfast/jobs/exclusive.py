"""Keys and ids of jobs that one task at a time is storing: of two that store the same, the second sees what became."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence


class Exclusive:
    """The names that somebody has. Belongs to the loop's thread."""

    def __init__(self) -> None:
        self._taken: dict[Hashable, asyncio.Future[None]] = {}

    def of(self, names: Sequence[Hashable]) -> Claim:
        """A block during which nobody else has any of these names; entered when they are free."""
        return Claim(self._taken, names)


class Claim:
    """An asynchronous context manager."""

    __slots__ = ("_names", "_over", "_taken")

    def __init__(self, taken: dict[Hashable, asyncio.Future[None]], names: Sequence[Hashable]) -> None:
        self._taken = taken
        self._names = names

    async def __aenter__(self) -> None:
        taken, names = self._taken, self._names
        while not taken.keys().isdisjoint(names):
            await asyncio.shield(next(taken[name] for name in names if name in taken))
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for name in names:
            taken[name] = self._over

    async def __aexit__(self, *_: object) -> None:
        for name in self._names:
            del self._taken[name]
        self._over.set_result(None)
