"""The owner's write path on PostgreSQL: a batch is one statement in one round trip, or a few in one transaction.

A batch that conflicts is written once more, row by row, only to find the unit to blame; what is found not to conflict
after all (rows of a batch that met in a way one statement can't see) commits that way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from holdfast.errors import Conflict
from holdfast.model.unit import Unit

from .batch import alone, layers
from .connection import LOCAL_PLANS, PostgresOptions
from .outcome import decided
from .parts import Part, parts_of
from .sessions import Sessions, WriteSession
from .transaction import PostgresTransaction

_BEGIN_POOLED = f"BEGIN; {LOCAL_PLANS}"
"""A pooler's sessions are not ours to set up; inside a transaction both halves of a statement meet the same one."""


class Incarnation:
    """Which registration this store writes for; None before the first."""

    def __init__(self) -> None:
        self.runner_id: int | None = None


class PostgresJournal:
    """`Journal` on one database. Commits may overlap, up to as many as there are sessions."""

    def __init__(
        self, sessions: Sessions, interactive: Sessions, incarnation: Incarnation, options: PostgresOptions
    ) -> None:
        self._sessions = sessions
        self._interactive = interactive
        self._incarnation = incarnation
        self._pooled = options.pooled
        self._timeout_s = options.answer_s

    def commit(self, units: Sequence[Unit]) -> Awaitable[None]:
        return self._commit(units, self._incarnation.runner_id)

    async def begin(self, *, timeout_s: float) -> PostgresTransaction:
        return await PostgresTransaction.open(self._interactive, self._incarnation.runner_id, timeout_s=timeout_s)

    async def _commit(self, units: Sequence[Unit], incarnation: int | None) -> None:
        found = layers(units)
        try:
            await self._write(incarnation, [parts_of(layer) for layer in found] or [[]])
        except Conflict:
            if not found:
                raise
            await self._write_one_by_one(incarnation, units)

    async def _write_one_by_one(self, incarnation: int | None, units: Sequence[Unit]) -> None:
        rows = [(index, layer) for index, unit in enumerate(units) for layer in alone(unit, index)]
        done = 0

        def count() -> None:
            nonlocal done
            done += 1

        try:
            await self._write(incarnation, [parts_of(layer) for _, layer in rows], then=count)
        except Conflict as conflict:
            conflict.unit_index = rows[done][0]
            raise

    async def _write(
        self, incarnation: int | None, steps: Sequence[Sequence[Part]], *, then: Callable[[], None] = lambda: None
    ) -> None:
        """Commits the steps in one transaction; whatever it raises is final."""
        session = await self._sessions.take(incarnation)
        try:
            session.batch += 1
            await decided(self._sessions, session, self._send(session, steps, then))
        finally:
            self._sessions.give_back(session)

    async def _send(self, session: WriteSession, steps: Sequence[Sequence[Part]], then: Callable[[], None]) -> None:
        if len(steps) == 1 and not self._pooled:
            await session.write(steps[0], timeout_s=self._timeout_s)
            return
        await session.connection.execute(_BEGIN_POOLED if self._pooled else "BEGIN", timeout=self._timeout_s)
        for parts in steps:
            await session.write(parts, timeout_s=self._timeout_s)
            then()
        await session.connection.execute("COMMIT", timeout=self._timeout_s)
