"""From a write to its outcome: whatever happens to the connection, the answer is final when it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from holdfast.errors import FencedOut, PersistenceError

from .faults import DRIVER_ERRORS, Broken, translated
from .sessions import Sessions, WriteSession

_ANSWERS: tuple[type[Exception], ...] = (FencedOut, *DRIVER_ERRORS)


async def decided(sessions: Sessions, session: WriteSession, writing: Awaitable[None]) -> None:
    """Awaits the session's next batch, and where its outcome is not known then, makes it known.

    Returns when it committed. Raises Conflict, FencedOut and PersistenceError when it did not. A cancellation that
    comes too late is not heard: the batch has committed, and whoever asked for it is told so.
    """
    try:
        await writing
    except _ANSWERS as error:
        judged = await _judged(session, error)
        if not isinstance(judged, Broken):
            raise judged from error
        if not await _outcome(sessions, session):
            raise PersistenceError(str(judged)) from error
    except asyncio.CancelledError:
        if not await _outcome(sessions, session):
            raise


async def _judged(session: WriteSession, error: Exception) -> PersistenceError:
    """What the error means, with the transaction taken back where the session lives."""
    judged = translated(error, session.usable)
    if not isinstance(judged, Broken) and session.connection.is_in_transaction():
        try:
            await session.connection.execute("ROLLBACK")
        except DRIVER_ERRORS:
            session.connection.terminate()  # it was not going to commit any more: the outcome stays known
    return judged


async def _outcome(sessions: Sessions, session: WriteSession) -> bool:
    """Finding out goes on where the one who waits is cancelled again: an answer that nobody waits for is no answer."""
    finding = asyncio.ensure_future(sessions.outcome(session))
    while not finding.done():
        try:
            await asyncio.shield(finding)
        except asyncio.CancelledError:
            if finding.cancelled():
                raise
        except PersistenceError:
            break
    return finding.result()
