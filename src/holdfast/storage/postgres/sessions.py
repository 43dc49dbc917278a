"""Sessions that write under the fence, and what becomes of a write whose outcome nobody knows.

A session is a connection with a fence row of its own (its slot). Each of its batches locks that row and notes its own
number in it. When a batch's outcome is unknown (the line broke, time ran out, its task was cancelled) the session is
given up, and another connection deletes its fence row. The deletion waits for the batch if the server is still at it,
and after a moment ends that session; from then on the outcome is final, because whatever arrives late finds no fence.
The number in the deleted row says what the outcome is. The slot is never used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from holdfast.errors import FencedOut, PersistenceError

from .connection import Connection
from .endings import Endings
from .faults import DRIVER_ERRORS, Broken, translated
from .parts import Part, Statements, arguments
from .pool import end

_FIRST_PAUSE_S = 0.05
_PAUSE_S_MAX = 1.0


class WriteSession:
    """One connection, its slot, and the number of its next batch."""

    def __init__(self, connection: Connection, statements: Statements, incarnation: int, slot: int) -> None:
        self.connection = connection
        self.incarnation = incarnation
        self.slot = slot
        self.batch = 0
        self._statements = statements

    @property
    def usable(self) -> bool:
        return not self.connection.is_closed()

    async def write(self, parts: Sequence[Part], *, timeout_s: float | None = None) -> None:
        """Writes one layer, in the open transaction or in one of its own.

        Raises FencedOut, and the driver's errors (a failed guard is one).
        """
        row = await self.connection.fetchrow(
            self._statements.of(parts), self.incarnation, self.slot, self.batch, *arguments(parts), timeout=timeout_s
        )
        if row is None or not row[0]:
            raise fenced_out(self.incarnation)


class Sessions:
    """At most `size` sessions that write for the incarnation registered last; each in one pair of hands at a time."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[Connection]],
        slot_open: str,
        statements: Statements,
        endings: Endings,
        size: int,
        answer_s: float,
    ) -> None:
        self.answer_s = answer_s
        """How long an answer may take."""
        self._connect = connect
        self._slot_open = slot_open
        self._statements = statements
        self._endings = endings
        self._idle: list[WriteSession] = []
        self._out: set[WriteSession] = set()
        self._free = asyncio.Semaphore(size)
        self.closed = False

    async def take(self, incarnation: int | None) -> WriteSession:
        """A session without a transaction, to be given back. Raises FencedOut for who is not registered, and
        PersistenceError."""
        if incarnation is None:
            raise FencedOut("this process has not registered with the store, so it may not write")
        await self._free.acquire()
        try:
            session = await self._open(incarnation)
        except BaseException:
            self._free.release()
            raise
        self._out.add(session)
        return session

    def give_back(self, session: WriteSession) -> None:
        """One that is broken, or in the middle of a transaction, is given up."""
        self._out.discard(session)
        self._free.release()
        if not session.usable:
            return
        if self.closed or session.connection.is_in_transaction():
            session.connection.terminate()
        else:
            self._idle.append(session)

    async def outcome(self, session: WriteSession) -> bool:
        """Whether the session's last batch committed; final from here on. The session is gone afterwards.

        Returns only when it is known, however long the server is away. Raises FencedOut (executed "unknown") when the
        incarnation was reaped meanwhile, and with it the note; PersistenceError (the same) when the store is closed.
        """
        session.connection.terminate()
        pause_s = _FIRST_PAUSE_S
        while not self.closed:
            try:
                flushes = await self._endings.slot_end(session.incarnation, session.slot)
            except PersistenceError:
                await asyncio.sleep(pause_s)
                pause_s = min(_PAUSE_S_MAX, pause_s * 2)
                continue
            if flushes is None:
                raise FencedOut(f"runner {session.incarnation} was reaped during a commit", executed="unknown")
            return flushes >= session.batch
        raise PersistenceError("the store was closed during a commit", executed="unknown")

    def count(self) -> tuple[int, int]:
        """Sessions in use, and idle."""
        return len(self._out), len(self._idle)

    async def close(self) -> None:
        """Ends all sessions, those in use at once. Works twice."""
        self.closed = True
        for session in self._out:
            session.connection.terminate()
        idle, self._idle = self._idle, []
        for session in idle:
            await end(session.connection)

    async def _open(self, incarnation: int) -> WriteSession:
        while self._idle:
            session = self._idle.pop()
            if session.usable and session.incarnation == incarnation:
                return session
            session.connection.terminate()
        if self.closed:
            raise PersistenceError("the store is closed")
        try:
            connection = await self._connect()
        except PersistenceError as error:
            raise _nothing_written(error) from error
        try:
            await connection.execute("BEGIN", timeout=self.answer_s)
            row = await connection.fetchrow(self._slot_open, incarnation, timeout=self.answer_s)
            await connection.execute("COMMIT", timeout=self.answer_s)
        except asyncpg.ForeignKeyViolationError as error:
            await end(connection)
            raise fenced_out(incarnation) from error
        except DRIVER_ERRORS as error:
            connection.terminate()
            raise _nothing_written(translated(error, not connection.is_closed())) from error
        except BaseException:
            connection.terminate()
            raise
        assert row is not None
        return WriteSession(connection, self._statements, incarnation, row[0])


def fenced_out(incarnation: int) -> FencedOut:
    return FencedOut(f"runner {incarnation} was reaped: another one has taken over")


def _nothing_written(error: PersistenceError) -> PersistenceError:
    """An error met before the first batch of a session was sent."""
    return PersistenceError(str(error)) if isinstance(error, Broken) else error
