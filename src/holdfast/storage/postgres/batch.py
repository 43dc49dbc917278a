"""What one batch is to the server: layers of rows, each of which one statement can write.

Inside a statement nobody sees what the others write, and two parts may not touch one row. So rows of a batch that meet
(the same id, name or state) go to different layers, in the order of their units; nearly every batch is one layer. Of
a stored message only the server knows the key and the name: where a unit frees one that an earlier unit of the same
layer has taken, the statement itself must find out (the `..._keys_crossed` parts).

What a layer accepts, the units one after another would have been accepted with too. What it refuses need not be wrong:
`alone` then writes row by row and finds the unit to blame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from holdfast.model.job import (
    ArchivedJob,
    EndStart,
    FreshJob,
    JobDiscard,
    JobEnd,
    JobReplay,
    JobRetry,
    JobRow,
    StartRecord,
)
from holdfast.model.message import (
    Consume,
    DeadMessageEnd,
    DeadMessageRow,
    DoneRow,
    InboxRow,
    MessageRetry,
    MessageRow,
    StateRow,
    Take,
    TimerCancel,
)
from holdfast.model.unit import WRITE_ORDER, Row, Unit

RANK: dict[type[Row], int] = {kind: rank for rank, kind in enumerate(WRITE_ORDER)}

_SAME_IDS: tuple[tuple[type[Row], ...], ...] = (
    (MessageRow, Consume, MessageRetry),
    (InboxRow, Take),
    (JobRow, JobEnd, JobRetry),
    (JobEnd, ArchivedJob, FreshJob, JobReplay, JobDiscard),
    (StartRecord, EndStart),
    (DeadMessageRow, DeadMessageEnd),
)
_TABLE: dict[type[Row], tuple[str, ...]] = {
    MessageRow: ("message",), InboxRow: ("inbox",), Take: ("inbox",), JobRow: ("job",), JobRetry: ("job",),
    ArchivedJob: ("archive",), FreshJob: ("archive",), JobReplay: ("archive",), JobDiscard: ("archive",),
    StartRecord: ("start",), EndStart: ("start",),
    DoneRow: ("done",), DeadMessageRow: ("dead",), DeadMessageEnd: ("dead",),
}  # fmt: skip


class Layer:
    """Rows by type, in the order of their units, each list with the units' places in the batch beside it."""

    __slots__ = ("rows", "units")

    def __init__(self) -> None:
        self.rows: defaultdict[type[Row], list[Any]] = defaultdict(list)
        self.units: defaultdict[type[Row], list[int]] = defaultdict(list)

    def add(self, row: Row, unit: int) -> None:
        kind = row.__class__
        self.rows[kind].append(row)
        self.units[kind].append(unit)


def layers(units: Sequence[Unit]) -> list[Layer]:
    """The batch in as few layers as it takes; no layer for a batch without rows."""
    whole = Layer()
    rows, places = whole.rows, whole.units
    for index, unit in enumerate(units):
        for row in unit.rows:
            kind = row.__class__
            rows[kind].append(row)
            places[kind].append(index)
    if not whole.rows:
        return []
    return _spread(units) if _meets(whole) else [whole]


def alone(unit: Unit, index: int) -> Iterable[Layer]:
    """Each row of the unit by itself, in the order in which rows of a unit are written."""
    for row in _in_order(unit):
        layer = Layer()
        layer.add(row, index)
        yield layer


def _meets(layer: Layer) -> bool:
    rows = layer.rows
    for kinds in _SAME_IDS:
        found = [rows[kind] for kind in kinds if kind in rows]
        if found and sum(map(len, found)) != len({row.id for some in found for row in some}):
            return True
    states = rows.get(StateRow, ())
    if len(states) != len({(row.entity_id, row.entity_type) for row in states}):
        return True
    if TimerCancel not in rows:
        return False
    return MessageRetry in rows or any(row.name is not None for row in rows.get(MessageRow, ()))


def _spread(units: Sequence[Unit]) -> list[Layer]:
    """The first layer for each row that comes after all earlier rows it meets."""
    found: list[Layer] = []
    placed = _Placing()
    for index, unit in enumerate(units):
        for row in _in_order(unit):
            place = placed.place(row)
            if place == len(found):
                found.append(Layer())
            found[place].add(row, index)
    return found


class _Meeting(NamedTuple):
    """How a row may meet others."""

    own: Sequence[Hashable] = ()
    """What it changes: it comes after whoever has changed the same."""
    after: Sequence[Hashable] = ()
    """What it must find done without changing it."""
    tells: str = ""
    """The kind of keys and names it takes or frees, of which only the server knows all."""
    not_before: Sequence[str] = ()
    """Kinds that may be in the same layer, where the statement looks for itself, but not in a later one."""
    behind: Sequence[str] = ()
    """Kinds that must be in an earlier layer."""


class _Placing:
    """In which layers the rows so far are, by how they meet others."""

    def __init__(self) -> None:
        self._changed: dict[Hashable, int] = {}
        self._latest: dict[str, int] = {}

    def place(self, row: Row) -> int:
        meeting = _meeting(row)
        strict = [self._changed.get(thing, -1) + 1 for thing in (*meeting.own, *meeting.after)]
        strict += [self._latest.get(kind, -1) + 1 for kind in meeting.behind]
        place = max([0, *strict, *(self._latest.get(kind, 0) for kind in meeting.not_before)])
        self._changed.update(dict.fromkeys(meeting.own, place))
        if meeting.tells:
            self._latest[meeting.tells] = max(place, self._latest.get(meeting.tells, 0))
        return place


def _meeting(row: Row) -> _Meeting:
    match row:
        case StateRow():
            return _Meeting([("state", row.entity_type, row.entity_id)])
        case TimerCancel():
            return _Meeting((), [("name", *row)], "cancel", ("consume", "claim"), ("retry",))
        case MessageRetry():
            return _Meeting([("message", row.id)], (), "retry", (), ("cancel",))
        case Consume():
            return _Meeting([("message", row.id)], (), "consume", ("claim", "cancel"))
        case MessageRow() if row.name is not None:
            own = [("message", row.id), ("name", row.entity_type, row.entity_id, row.name)]
            return _Meeting(own, (), "claim", ("consume", "cancel"))
        case MessageRow() if row.key is not None:
            return _Meeting([("message", row.id)], (), "claim", ("consume", "cancel"))
        case JobRow() if row.key is not None:
            return _Meeting([("job", row.id)], (), "job claim", ("end",))
        case JobEnd():
            return _Meeting([("job", row.id), ("archive", row.id)], (), "end", ("job claim",))
        case _:
            return _Meeting([(table, row.id) for table in _TABLE[row.__class__]])


def _in_order(unit: Unit) -> list[Row]:
    return sorted(unit.rows, key=lambda row: RANK[row.__class__])
