"""The live jobs that are held in memory, by id."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from .attempt import Held


class Roster:
    """Held jobs by id.

    A read of the store may take a while, and what it returns may have ended meanwhile. Whoever reads rows to hold
    them does so inside `reading`, and holds none of the ids that left since.
    """

    def __init__(self) -> None:
        self._jobs: dict[int, Held] = {}
        self._left: list[set[int]] = []
        self.get = self._jobs.get

    def __contains__(self, job: int) -> bool:
        return job in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._jobs.values()))

    def hold(self, held: Held) -> None:
        self._jobs[held.row.id] = held

    def let_go(self, job: int) -> None:
        """The job ended, or goes on in the store only."""
        self._jobs.pop(job, None)
        for left in self._left:
            left.add(job)

    @contextmanager
    def reading(self) -> Generator[set[int], None, None]:
        """The ids that left while the block runs."""
        left: set[int] = set()
        self._left.append(left)
        try:
            yield left
        finally:
            # By identity: of two readings in which the same jobs left, `remove` would end the other one.
            self._left = [other for other in self._left if other is not left]
