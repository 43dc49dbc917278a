"""Long lists from the store, a bounded page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar


class Numbered(Protocol):
    @property
    def id(self) -> int: ...


R = TypeVar("R", bound=Numbered)

PAGE = 100
"""Rows read at once: each holds the arguments of a job or message, which nobody here keeps."""


async def paged(read: Callable[[int, int], Awaitable[Sequence[R]]], *, after: int, limit: int) -> AsyncIterator[R]:
    """At most `limit` rows of what `read(after, limit)` returns by ascending id."""
    while limit > 0 and (page := await read(after, min(limit, PAGE))):
        for row in page:
            yield row
        after, limit = page[-1].id, limit - len(page)
