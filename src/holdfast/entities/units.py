"""Commits what turns staged: one unit per entity and flush.

Turns of one entity that end before a flush takes their unit join it: they ran back to back on each other's state and
commit together or not at all. Once the unit is taken the entity starts nothing until the outcome is known. A unit that
surely failed is run again message by message, so that only the guilty one fails; the instance is dropped, because its
state may hold what was never written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from holdfast.errors import FencedOut, PersistenceError
from holdfast.kit.batching import Closed
from holdfast.model.job import JobRow
from holdfast.model.message import MessageRow, StateRow
from holdfast.model.outbox import readdressed
from holdfast.model.unit import Row, Unit
from holdfast.ports.commits import CommitItem

from .leftovers import Leftovers
from .shards import Shards
from .surroundings import Surroundings
from .turns import Activation, Ending, HandlerTurn

logger = logging.getLogger("holdfast.entities")


class Freed(Protocol):
    """Who goes on once a commit is known."""

    def commit_known(self, activation: Activation) -> None:
        """The activation may start turns again."""
        ...

    def ran_in_vain(self, turn: HandlerTurn) -> None:
        """The turn ran on an activation that has been dropped."""
        ...

    def commit_failed(self, activation: Activation, turns: list[HandlerTurn], error: BaseException) -> None:
        """Nothing of these turns was written; the activation is to be dropped."""
        ...


class EntityUnit(CommitItem):
    """The turns of one entity that commit together; its state's row comes last, when a flush takes it."""

    __slots__ = ("_activation", "_encoded", "_freed", "_limit", "left", "turns")

    def __init__(self, activation: Activation, freed: Freed, limit: int) -> None:
        self._activation = activation
        self._freed = freed
        self._limit = limit
        self._encoded: bytes | None = None
        self.turns: list[HandlerTurn] = []
        self.left: set[int] = set()
        """The shards in whose inbox it leaves something."""
        self.rows = []
        self.size_bytes = 0

    @property
    def line(self) -> int:
        return self._activation.shard

    @property
    def full(self) -> bool:
        return len(self.turns) >= self._limit

    def join(self, turn: HandlerTurn) -> None:
        self.turns.append(turn)
        if turn.encoded is not None:
            self._encoded = turn.encoded
        if turn.rows is not None:
            self.rows += turn.rows
            self.size_bytes += turn.size_bytes
        if turn.alone:
            self._limit = 0

    def void(self) -> None:
        """Before a flush has taken it: nothing of it is written, and nobody hears of it."""
        self.turns, self.rows, self._limit = [], [], 0

    def taken(self) -> None:
        if not self.turns:
            return
        activation = self._activation
        activation.open, activation.flying = None, self
        if self._encoded is not None:
            self.rows.append(state_row(activation, self._encoded))

    def committed(self) -> None:
        if not self.turns:
            return
        activation = self._activation
        activation.flying = None
        if self._encoded is not None:
            activation.version += 1
        for turn in self.turns:
            turn.settle()
        self._freed.commit_known(activation)

    def failed(self, error: BaseException) -> None:
        if not self.turns:
            return
        self._activation.flying = None
        self._freed.commit_failed(self._activation, self.turns, error)


def state_row(activation: Activation, encoded: bytes) -> StateRow:
    """The row that saves this state as the activation's next version."""
    address = activation.address
    return StateRow(
        activation.shard,
        address.entity_type,
        address.entity_id,
        activation.version + 1,
        activation.hosted.type.schema,
        encoded,
    )


class RowsItem(CommitItem):
    """Rows that commit for themselves: an admission, a timer, a retry."""

    __slots__ = ("_done", "_failed", "_line", "was_taken")

    def __init__(
        self,
        line: int,
        rows: list[Row],
        size_bytes: int,
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._line = line
        self.rows = rows
        self.size_bytes = size_bytes
        self._done = done
        self._failed = failed
        self.was_taken = False

    @property
    def line(self) -> int:
        return self._line

    def withdraw(self) -> None:
        """Before a flush has taken it: nothing of it is written, and nobody hears of it."""
        assert not self.was_taken, "a unit that a flush has taken can't be withdrawn"
        self.rows = []
        self._done = self._failed = _nothing

    def taken(self) -> None:
        self.was_taken = True

    def committed(self) -> None:
        self._done()

    def failed(self, error: BaseException) -> None:
        self._failed(error)


def _nothing(*_: object) -> None:
    pass


class Committer:
    """Puts turns into units and units into the runner's group commit."""

    def __init__(self, around: Surroundings, *, freed: Freed, shards: Shards) -> None:
        self._group = around.group
        self._shards = shards
        self.leftovers = Leftovers()
        self.inbox_left: Callable[[], None] = _nothing
        """Told when a commit has left something in the inbox."""
        self._unit_messages_max = around.settings.unit_messages_max
        self._freed = freed

    def join(self, turn: HandlerTurn) -> None:
        """The turn has ended; its effects, or at least its reply, wait for a commit."""
        activation = turn.activation
        if activation.dropped and (turn.ending is not Ending.FAILURE or activation.leaving):
            self._freed.ran_in_vain(turn)
            return
        unit = activation.open
        if isinstance(unit, EntityUnit):
            if turn.outgoing:
                self._readdress(turn, unit.left)
            unit.join(turn)
            return
        unit = EntityUnit(activation, self._freed, self._unit_messages_max)
        if turn.outgoing:
            self._readdress(turn, unit.left)
        activation.open = unit
        unit.join(turn)
        try:
            self._group.add(unit)
        except Closed as closed:
            _refuse(unit, closed)

    def unit_of(self, turn: HandlerTurn) -> Unit:
        """What a turn with a transaction of its own commits there."""
        if turn.outgoing:
            self._readdress(turn, set())
        unit = Unit()
        unit.rows += turn.rows or []
        if turn.encoded is not None:
            unit.add(state_row(turn.activation, turn.encoded))
        return unit

    def _readdress(self, turn: HandlerTurn, left: set[int]) -> None:
        """What it sends to a shard that has left since goes to the inbox, and so does what would overtake that.

        `left` are the shards in whose inbox the commit leaves something, and grows.
        """
        own = turn.activation.shard

        def ours(row: MessageRow | JobRow) -> bool:
            if row.shard != own and not self._shards.serves(row.shard):
                return False
            delayed = row.due_at > 0  # which has no order to keep
            return delayed or not (row.shard in left or row.shard in self.leftovers)

        rows = readdressed(turn.rows or (), ours, left)
        if rows is not None:
            turn.rows, turn.readdressed = rows, True
        if left:
            turn.after = [*(turn.after or ()), lambda: self._left(left)]

    def _left(self, shards: set[int]) -> None:
        self.leftovers.left(shards)
        self.inbox_left()

    def known(self, turn: HandlerTurn) -> None:
        """The transaction of this turn has committed."""
        if turn.encoded is not None:
            turn.activation.version += 1
        turn.settle()

    def failed(self, turn: HandlerTurn, error: BaseException) -> None:
        """The transaction of this turn surely has not committed."""
        self._freed.commit_failed(turn.activation, [turn], error)

    def write(
        self,
        line: int,
        rows: list[Row],
        size_bytes: int,
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> RowsItem:
        """Rows for themselves, about entities in the line of their shard.

        Exactly one of the two is called once the outcome is known.
        """
        item = RowsItem(line, rows, size_bytes, done, failed)
        try:
            self._group.add(item)
        except Closed as closed:
            _refuse(item, closed)
        return item

    async def settled(self) -> None:
        """Returns once it is known what became of all that has been handed in until now."""
        await self._group.settled()

    async def written(self, line: int, rows: list[Row]) -> None:
        """The same, for who waits. Raises PersistenceError."""
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.write(
            line,
            rows,
            0,
            lambda: None if known.done() else known.set_result(None),
            lambda error: None if known.done() else known.set_exception(surely_not_written(error)),
        )
        await known


def _refuse(item: CommitItem, closed: Closed) -> None:
    item.taken()
    item.failed(PersistenceError(f"this runner has stopped writing: {closed}"))


def surely_not_written(error: BaseException) -> PersistenceError:
    """A commit's failure as the message's sender hears it."""
    if isinstance(error, FencedOut | PersistenceError):
        return error
    logger.error("a commit failed", exc_info=error)
    return PersistenceError(f"the commit failed: {type(error).__name__}")
