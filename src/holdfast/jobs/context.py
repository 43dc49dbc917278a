"""What a job's handler can know and do about its own run: `job_context()`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from holdfast.errors import UsageError
from holdfast.model.ids import JobId, job_id
from holdfast.ports.journal import Transaction, part_of
from holdfast.ports.turn import current_turn

from .attempt import Attempt, Interruption
from .child_turn import ChildTurn


class JobContext:
    """The running attempt, as its handler sees it."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt | ChildTurn) -> None:
        self._attempt = attempt

    @property
    def job_id(self) -> JobId:
        attempt = self._attempt
        return job_id(attempt.job if isinstance(attempt, ChildTurn) else attempt.held.row.id)

    @property
    def attempt(self) -> int:
        """The attempt's number, from 1."""
        return self._attempt.number

    @property
    def cancelled(self) -> bool:
        """Whether the job was cancelled, its time is used up, or the runner stops: end soon.

        A handler on the loop is interrupted where it waits and rarely needs this; one in a thread has nothing else;
        one in a process of its own is killed and never sees it.
        """
        return isinstance(self._attempt, Attempt) and self._attempt.why is not None

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody cancelled the job."""
        return isinstance(self._attempt, Attempt) and self._attempt.why is Interruption.CANCEL

    def progress(self, value: float | None = None, text: str | None = None) -> None:
        """Says how far the work is; shown by the job's status while the attempt runs, and not stored."""
        if isinstance(self._attempt, ChildTurn):
            self._attempt.progress(value, text)
        else:
            self._attempt.progress = (value, text)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The user's own statements, committed together with the job's end, or not at all.

        An error that leaves the block takes back the block's statements. The transaction stays open until the handler
        ends, bounded in time, and holds up other commits of an embedded store: use it last.
        """
        if isinstance(self._attempt, ChildTurn):
            self._attempt.refuse("write in its job's transaction")
        return _transaction(self._attempt)


@asynccontextmanager
async def _transaction(attempt: Attempt) -> AsyncGenerator[Transaction, None]:
    if attempt.in_transaction:
        async with part_of(await attempt.open_transaction()) as part:
            yield part
        return
    opened = await attempt.open_transaction()
    try:
        yield opened
    except BaseException:
        attempt.take_transaction()
        await opened.rollback()
        raise


def job_context() -> JobContext:
    """The context of the job whose handler is running. Raises UsageError outside of one."""
    turn = current_turn.get()
    if not isinstance(turn, Attempt | ChildTurn):
        raise UsageError("job_context() answers inside a job's handler only")
    return JobContext(turn)
