"""What an inbox row's `body` holds, by its `kind`, and the codec of both."""

from __future__ import annotations

import enum
from typing import TypeVar

import msgspec

from .job import PRIORITIES, JobRow
from .message import MessageRow
from .storable import NUMBER_MAX, is_word, shortened


class InboxKind(enum.IntEnum):
    MESSAGE = 1
    JOB = 2
    COMMAND = 3
    ATTEMPT_END = 4


class Command(msgspec.Struct, frozen=True, array_like=True):
    """A request to a shard's owner about its work.

    `cancel`, `replay`, `discard` of a job, `replay_message`, `discard_message`, or `cancel_timer`. `number` is the id
    that a replay gives what takes the dead one's place, chosen by whoever asked for it.
    """

    verb: str
    target: int
    entity_type: str = ""
    entity_id: str = ""
    name: str = ""
    number: int = 0


class AttemptEnd(msgspec.Struct, frozen=True, array_like=True):
    """How attempt `number` of a job ended on `executor`, which does not own the job's shard (any more).

    `outcome` says it in the words of the job engine: `completed` with the encoded `result`, `retry` with `error`,
    `reason` and the pause before the next attempt, `dead` with both, `cancelled`, or `available` for an attempt that
    was given back. Counts only while the job is live with `attempt = number - 1`.
    """

    job: int
    number: int
    executor: int
    outcome: str
    result: bytes | None = None
    error: str | None = None
    reason: str | None = None
    delay_us: int = 0
    finished_at: int = 0


_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(MessageRow)
_jobs = msgspec.msgpack.Decoder(JobRow)
_commands = msgspec.msgpack.Decoder(Command)
_attempt_ends = msgspec.msgpack.Decoder(AttemptEnd)

Entry = MessageRow | JobRow | Command | AttemptEnd
R = TypeVar("R", MessageRow, JobRow)

_COUNT_MAX = 2**31 - 1
_BOUNDS = dict.fromkeys(("shard", "deliveries", "max_attempts", "attempt", "crashes"), _COUNT_MAX) | {
    "priority": len(PRIORITIES) - 1
}


def encode_entry(entry: Entry) -> tuple[InboxKind, bytes]:
    """The kind and body of an inbox row."""
    match entry:
        case MessageRow():
            return InboxKind.MESSAGE, _encoder.encode(entry)
        case JobRow():
            return InboxKind.JOB, _encoder.encode(entry)
        case Command():
            return InboxKind.COMMAND, _encoder.encode(entry)
        case AttemptEnd():
            return InboxKind.ATTEMPT_END, _encoder.encode(entry)


def _storable(row: R) -> R:
    """The row. Raises ValueError for one that no store can hold: it would be taken, and fail, again and again."""
    for name, value in zip(row._fields, row, strict=True):
        match value:
            case int():
                right = 0 <= value <= _BOUNDS.get(name, NUMBER_MAX)
            case str():
                right = name == "last_error" or is_word(value)
            case _:
                continue
        if not right:
            raise ValueError(f"no {name} is {shortened(value)}")
    return row


def decode_entry(kind: int, body: bytes) -> Entry:
    """What `encode_entry` made.

    Raises msgspec.ValidationError or ValueError for what this version can't read.
    """
    match InboxKind(kind):
        case InboxKind.MESSAGE:
            return _storable(_messages.decode(body))
        case InboxKind.JOB:
            return _storable(_jobs.decode(body))
        case InboxKind.COMMAND:
            return _commands.decode(body)
        case InboxKind.ATTEMPT_END:
            return _attempt_ends.decode(body)
