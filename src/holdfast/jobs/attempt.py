"""A live job held in memory, and one try of it.

The attempt is also the handler's turn: doors used inside the handler stage rows here, which commit with the job's end
or not at all.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from holdfast.errors import HandlerEnded
from holdfast.model.job import EndStart, JobRow
from holdfast.model.outbox import readdressed
from holdfast.model.unit import Row
from holdfast.ports.journal import OpenTransaction
from holdfast.ports.territory import Territory

from .job_type import JobType
from .tally import Tally


class Phase(enum.Enum):
    """Where a held job stands. In the first four it has no attempt and can be ended by a request alone."""

    STORED = "stored"
    """Only held for a request's sake; the store has it."""
    DUE_LATER = "due later"
    WAITING = "waiting"
    IN_LINE = "in line"
    """Waiting for its turn in its group."""
    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    ELSEWHERE = "elsewhere"
    """An attempt of it runs on another runner."""
    GONE = "gone"
    """Its shard is somebody else's; whoever meets it in a queue passes it over."""


class Away(NamedTuple):
    """The attempt of a job that runs on another runner."""

    executor: int
    number: int


class Interruption(enum.Enum):
    """Why somebody wants a running attempt to end."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    DRAIN = "drain"


class Held:
    """A live job in memory; `row` is as the store has it."""

    __slots__ = ("attempt", "away", "declared", "depth", "phase", "row", "tally")

    def __init__(self, row: JobRow, declared: JobType, tally: Tally, phase: Phase) -> None:
        self.row = row
        self.declared = declared
        self.tally = tally
        self.depth = tally.depth(row.shard)
        self.phase = phase
        self.attempt: Attempt | None = None
        self.away: Away | None = None


class Record:
    """A start record of this executor; `open` attempts of it have ends that are not on their way to the store.

    `older` are ids under which it may be stored too: one that is replaced by a shorter one is gone only once that is
    known to be stored. All that is committed about it, and the ends of its attempts, is one `line`: what takes it away
    comes last.
    """

    __slots__ = ("attempts", "gone", "id", "late", "line", "older", "open", "turn")

    def __init__(self, record: int, attempts: int) -> None:
        self.id = self.line = record
        self.turn: asyncio.Lock | None = None
        """Held by whoever rewrites it."""
        self.open = attempts
        self.older: tuple[int, ...] = ()
        self.attempts: Sequence[Attempt] = ()
        self.late: list[Attempt] = []
        """Those that have ended and whose ends wait to be written: the record stands for them till then."""
        self.gone = False
        """Nothing of it is stored any more."""

    def leave(self) -> Sequence[Row]:
        """The end of one of its attempts is on its way: what goes along, which takes the record away with the last."""
        self.open -= 1
        if self.open:
            return ()
        self.attempts = ()  # each attempt knows its record: a circle that the garbage collector would have to find
        return () if self.gone else self.end()

    def come_back(self) -> None:
        """The end of one of its attempts was on its way, and was not written."""
        self.open += 1

    def remaining(self, besides: Attempt) -> list[tuple[int, int]]:
        """Its other attempts that have not ended, or whose ends wait."""
        running = [one for one in self.attempts if not one.ended]
        waiting = [one for one in self.late if one is not besides]
        return [(one.held.row.id, one.number) for one in (*running, *waiting)]

    def end(self) -> list[EndStart]:
        """The rows that take it away."""
        return [EndStart(self.id), *map(EndStart, self.older)]


Begin = Callable[[], Awaitable[OpenTransaction]]


class _Extras:
    """What most attempts never need: staged rows, acts after the commit, watchers, progress, a transaction."""

    __slots__ = ("acts", "asked", "progress", "rows", "size", "transaction", "watchers")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.size = 0
        self.acts: list[Callable[[], None]] = []
        self.watchers: list[asyncio.Future[None]] = []
        self.progress: tuple[float | None, str | None] = (None, None)
        self.transaction: OpenTransaction | None = None
        self.asked = 0.0


class Attempt:
    """One try of a job, from its start record to its end; `number` counts from 1."""

    __slots__ = ("_begin", "_extras", "began", "ended", "held", "number", "record", "seconds", "stop", "why")

    def __init__(self, held: Held, record: Record, begin: Begin) -> None:
        self.held = held
        self.number = held.row.attempt + 1
        self.record = record
        self.ended = False
        self.why: Interruption | None = None
        self.began = self.seconds = 0.0
        self.stop: Callable[[], object] | None = None
        """Ends the handler where it is, if it can be ended."""
        self._begin = begin
        self._extras: _Extras | None = None

    def check_open(self) -> None:
        """Raises HandlerEnded once the attempt has ended."""
        if self.ended:
            raise HandlerEnded(f"attempt {self.number} of job {self.held.row.id} has ended: nothing joins it now")

    def stage(self, row: Row, size_bytes: int = 0) -> None:
        """Adds a row to what the job's end commits."""
        self.check_open()
        extras = self._some()
        extras.rows.append(row)
        extras.size += size_bytes

    def after_commit(self, act: Callable[[], None]) -> None:
        """Calls `act` once the job's end is durable; never where it is not."""
        self.check_open()
        self._some().acts.append(act)

    @property
    def rows(self) -> Sequence[Row] | None:
        """What the handler has staged; once its end is on its way, as it is written."""
        return self._extras.rows if self._extras is not None else None

    @property
    def plain(self) -> bool:
        """Nothing but the job's end is to be written, and nobody is to be told of it."""
        return self._extras is None

    def settled(self, territory: Territory) -> tuple[Sequence[Row], int]:
        """What the handler wants to be written with its end, and its size in bytes.

        What is for a shard that is not served at this moment waits in the inbox for its owner. Ids stay, and with them
        what was promised of them.
        """
        extras = self._extras
        if extras is None:
            return (), 0
        rows = readdressed(extras.rows, lambda row: territory.serves(row.shard), set())
        if rows is not None:
            extras.rows = rows
        return extras.rows, extras.size

    def acts(self) -> Sequence[Callable[[], None]]:
        return self._extras.acts if self._extras is not None else ()

    @property
    def progress(self) -> tuple[float | None, str | None]:
        """How far the handler says it is."""
        return self._extras.progress if self._extras is not None else (None, None)

    @progress.setter
    def progress(self, said: tuple[float | None, str | None]) -> None:
        self._some().progress = said

    @property
    def asked(self) -> float:
        """When a cancel was asked for, as the clock's monotonic reading."""
        return self._extras.asked if self._extras is not None else 0.0

    @asked.setter
    def asked(self, when: float) -> None:
        self._some().asked = when

    async def open_transaction(self) -> OpenTransaction:
        """The attempt's transaction, begun when it is first asked for. Raises HandlerEnded and PersistenceError."""
        self.check_open()
        extras = self._some()
        if extras.transaction is None:
            extras.transaction = await self._begin()
        return extras.transaction

    @property
    def in_transaction(self) -> bool:
        return self._extras is not None and self._extras.transaction is not None

    def take_transaction(self) -> OpenTransaction | None:
        """The open transaction, which its taker ends."""
        if self._extras is None:
            return None
        taken, self._extras.transaction = self._extras.transaction, None
        return taken

    def interrupt(self, why: Interruption) -> None:
        """Asks the attempt to end.

        A handler on the loop is cancelled where it waits, one in a process is killed, one in a thread can only look.
        """
        if self.why is None:
            self.why = why
        if self.stop is not None:
            self.stop()

    def watch(self) -> asyncio.Future[None]:
        """Resolved once it is known, and stored, what became of the attempt."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._some().watchers.append(future)
        return future

    def settle(self) -> None:
        """It is known now: tells those who watch."""
        if self._extras is None:
            return
        watchers, self._extras.watchers = self._extras.watchers, []
        for future in watchers:
            if not future.done():
                future.set_result(None)

    def _some(self) -> _Extras:
        if self._extras is None:
            self._extras = _Extras()
        return self._extras
