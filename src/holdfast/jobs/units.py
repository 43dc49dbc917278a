"""What the engine hands to the shared group commit: a unit, and who is to be told about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.model.unit import Unit
from holdfast.ports.commits import CommitItem, Commits


class JobUnit(CommitItem):
    """A unit with two callbacks, for what is not hot; exactly one of them is called."""

    __slots__ = ("_committed", "_failed", "_line")

    def __init__(
        self,
        unit: Unit,
        *,
        committed: Callable[[], None],
        failed: Callable[[BaseException], None],
        line: int = 0,
    ) -> None:
        self.rows, self.size_bytes = unit.rows, unit.size_bytes
        self._line = line
        self._committed = committed
        self._failed = failed

    @property
    def line(self) -> int:
        return self._line

    def committed(self) -> None:
        self._committed()

    def failed(self, error: BaseException) -> None:
        self._failed(error)


def commit_unit(commits: Commits, unit: Unit, *, line: int = 0) -> asyncio.Future[None]:
    """Done once the unit is on disk; fails as `Journal.commit`. Cancelling the future leaves the commit as it is."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    commits.add(
        JobUnit(
            unit,
            committed=lambda: None if done.done() else done.set_result(None),
            failed=lambda error: None if done.done() else done.set_exception(error),
            line=line,
        )
    )
    return done


def nothing() -> None:
    """What follows where nothing has to."""


async def commit_then(
    commits: Commits, unit: Unit, committed: Callable[[], object], refused: Callable[[], object] = nothing
) -> None:
    """What follows from the commit follows also where the one who asked for it is cancelled meanwhile."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def written() -> None:
        committed()
        if not done.done():
            done.set_result(None)

    def failed(error: BaseException) -> None:
        refused()
        if not done.done():
            done.set_exception(error)

    commits.add(JobUnit(unit, committed=written, failed=failed))
    await done
