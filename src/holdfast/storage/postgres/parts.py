"""The statement that writes a layer: one part for each type of row, every part under the fence.

    fence       locks this session's fence row; where it is gone, nothing below selects anything
    deletions   select from the fence
    gate        is there only if the fence is, and if all that had to be taken away was
    the others  select from the gate: so what is inserted comes after what frees its key, and consumption is the guard
    the answer  whether the fence held; raises, and so takes all back, where a guarded row was not as expected

One round trip and one implicit transaction. The text is put together from named statements, once for each set of parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
from holdfast.model.unit import Row

from .batch import RANK, Layer

_DELETIONS = ("message_consume", "inbox_take", "dead_message_end", "timer_cancel", "job_delete")
_GUARDED = frozenset(
    {
        "message_consume", "inbox_take", "dead_message_end", "job_delete", "state_update", "message_retry",
        "job_replay", "job_retry", "job_discard",
    }
)  # fmt: skip
"""Parts that must find all their rows; the first parameter has as many elements as rows are wanted."""
_FORBIDDEN = frozenset({"message_keys_crossed", "job_keys_crossed", "job_keys_held", "job_ended"})
"""Parts that must find nothing."""
_PLACEHOLDER = re.compile(r"\$(\d+)")
_SHARED = 3
"""Parameters of the fence itself: runner, slot, and the number of the batch."""


class Part(NamedTuple):
    name: str
    parameters: Sequence[Sequence[Any]]
    """Mostly one: the rows as they are, for an array of the type that the statement names."""


class Statements:
    """The texts, by the names of their parts."""

    def __init__(self, sql: Mapping[str, str]) -> None:
        self._sql = sql
        self._made: dict[tuple[str, ...], str] = {}

    def of(self, parts: Sequence[Part]) -> str:
        names = tuple([part.name for part in parts])
        made = self._made.get(names)
        if made is None:
            made = self._made[names] = _compose(self._sql, names)
        return made


def arguments(parts: Sequence[Part]) -> list[Any]:
    """The parameters of the parts, after those of the fence."""
    return [parameter for part in parts for parameter in part.parameters]


def parts_of(layer: Layer) -> list[Part]:
    """The parts that write a layer, in the order of their types."""
    found: list[Part] = []
    for kind in sorted(layer.rows, key=RANK.__getitem__):
        found += _PARTS[kind](layer)
    found += _crossings(layer)
    return found


def _compose(sql: Mapping[str, str], names: Sequence[str]) -> str:
    offset, first, texts = _SHARED, dict[str, int](), dict[str, str]()
    for name in names:
        text, first[name] = sql[name], offset + 1
        texts[name] = _moved(text, offset)
        offset += max((int(number) for number in _PLACEHOLDER.findall(text)), default=0)
    ctes = [f"fence AS MATERIALIZED ({sql['fence']})", f"fence_mark AS ({sql['fence_mark']})"]
    ctes += [f"{name} AS ({texts[name]})" for name in names if name in _DELETIONS]
    ctes.append(f"gate AS MATERIALIZED ({_gate(names, first)})")
    ctes += [f"{name} AS ({texts[name]})" for name in names if name not in _DELETIONS]
    return f"WITH {', '.join(ctes)} {_answer(names, first)}"


def _moved(text: str, by: int) -> str:
    return _PLACEHOLDER.sub(lambda match: f"${int(match[1]) + by}", text)


def _gate(names: Sequence[str], first: Mapping[str, int]) -> str:
    conditions = [
        f"(SELECT count(*) FROM {name}) {'=' if name in _GUARDED else '<='} cardinality(${first[name]})"
        for name in names
        if name in _DELETIONS
    ]
    return " AND ".join(["SELECT 1 FROM fence WHERE true", *conditions])


def _answer(names: Sequence[str], first: Mapping[str, int]) -> str:
    cases = ["WHEN NOT EXISTS (SELECT FROM fence) THEN 0"]
    for name in names:
        refuse = f"THEN holdfast_refuse('{name}')"
        if name in _GUARDED:
            cases.append(f"WHEN (SELECT count(*) FROM {name}) <> cardinality(${first[name]}) {refuse}")
        elif name in _FORBIDDEN:
            cases.append(f"WHEN EXISTS (SELECT FROM {name}) {refuse}")
        elif name == "inbox_notify":
            cases.append(f"WHEN (SELECT count(*) FROM {name}) > 1 {refuse}")
    return f"SELECT EXISTS (SELECT FROM fence) AS held, CASE {' '.join(cases)} ELSE 0 END"


def _rows(name: str, kind: type[Row], *texts: str) -> Callable[[Layer], list[Part]]:
    """A part that takes the rows as they are; `texts` are columns that hold words of a program's errors."""

    def part(layer: Layer) -> list[Part]:
        return [Part(name, [_storable_rows(layer.rows[kind], texts)])]

    return part


def _ids(name: str, kind: type[Row]) -> Callable[[Layer], list[Part]]:
    return lambda layer: [Part(name, [[row.id for row in layer.rows[kind]]])]


def _storable_rows(rows: list[Any], texts: Sequence[str]) -> list[Any]:
    for text in texts:
        values = [getattr(row, text) for row in rows]
        if any(value is not None for value in values):
            rows = [row._replace(**{text: storable(value)}) for row, value in zip(rows, values, strict=True)]
    return rows


def storable(text: str | None) -> str | None:
    """An error's words as PostgreSQL can keep them: it has no place for NUL, nor for half a character."""
    if text is None or (text.isascii() and "\x00" not in text):
        return text
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _states(layer: Layer) -> list[Part]:
    rows: Sequence[StateRow] = layer.rows[StateRow]
    fresh, later = [row for row in rows if row.version == 1], [row for row in rows if row.version != 1]
    found = [Part("state_insert", [fresh])] if fresh else []
    return [*found, Part("state_update", [later])] if later else found


def _inbox(layer: Layer) -> list[Part]:
    return [Part("inbox_insert", [layer.rows[InboxRow]]), Part("inbox_notify", ())]


def _jobs(layer: Layer) -> list[Part]:
    """A job that ends while the statement runs is live to it: the unique index lets a new one of its key pass then, and
    only `job_keys_held` does not."""
    rows: Sequence[JobRow] = _storable_rows(layer.rows[JobRow], ("last_error",))
    found = [Part("job_insert", [rows])]
    names = [(row.job_type, row.group or "", row.key) for row in rows if row.key is not None and row.replay_of is None]
    return [*found, Part("job_keys_held", list(zip(*names, strict=True)))] if names else found


def _job_ends(layer: Layer) -> list[Part]:
    return [Part("job_delete", [_storable_rows(layer.rows[JobEnd], ("error",))]), Part("job_archive", ())]


_PARTS: dict[type[Row], Callable[[Layer], list[Part]]] = {
    Consume: _ids("message_consume", Consume),
    Take: _ids("inbox_take", Take),
    DeadMessageEnd: _ids("dead_message_end", DeadMessageEnd),
    TimerCancel: _rows("timer_cancel", TimerCancel),
    StateRow: _states,
    MessageRow: _rows("message_insert", MessageRow, "last_error"),
    DoneRow: _rows("done_insert", DoneRow),
    MessageRetry: _rows("message_retry", MessageRetry, "last_error"),
    DeadMessageRow: _rows("dead_message_insert", DeadMessageRow, "last_error"),
    InboxRow: _inbox,
    JobReplay: _rows("job_replay", JobReplay),
    FreshJob: _ids("job_ended", FreshJob),
    JobRow: _jobs,
    JobEnd: _job_ends,
    ArchivedJob: _rows("archive_insert", ArchivedJob, "error"),
    JobRetry: _rows("job_retry", JobRetry, "last_error"),
    JobDiscard: _rows("job_discard", JobDiscard),
    StartRecord: _rows("start_insert", StartRecord),
    EndStart: _ids("start_end", EndStart),
}
assert _PARTS.keys() == RANK.keys(), "every type of row has its part"


def _crossings(layer: Layer) -> list[Part]:
    """What the statement has to look for itself; nothing, where no unit comes before one that frees something."""
    found: list[Part] = []
    rows, units = layer.rows, layer.units
    if Consume in rows and (MessageRow in rows or TimerCancel in rows):
        claims: list[tuple[Any, ...]] = [
            (row.entity_type, row.entity_id, row.method, row.key, row.name, unit)
            for row, unit in zip(rows.get(MessageRow, ()), units.get(MessageRow, ()), strict=True)
            if row.key is not None or row.name is not None
        ]
        cancels = zip(rows.get(TimerCancel, ()), units.get(TimerCancel, ()), strict=True)
        claims += [(row.entity_type, row.entity_id, None, None, row.name, unit) for row, unit in cancels]
        found += _crossing("message_keys_crossed", rows[Consume], units[Consume], claims)
    if JobEnd in rows and JobRow in rows:
        claims = [
            (row.job_type, row.group, row.key, unit)
            for row, unit in zip(rows[JobRow], units[JobRow], strict=True)
            if row.key is not None
        ]
        found += _crossing("job_keys_crossed", rows[JobEnd], units[JobEnd], claims)
    return found


def _crossing(
    name: str, taken: Sequence[Consume | JobEnd], units: Sequence[int], claims: Sequence[tuple[Any, ...]]
) -> list[Part]:
    if not claims or min(claim[-1] for claim in claims) > max(units):
        return []
    return [Part(name, ([row.id for row in taken], units, *zip(*claims, strict=True)))]
