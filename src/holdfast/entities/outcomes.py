"""What stays of a durable message: the row of its end, or of its death, and what that says to who asks later."""

from __future__ import annotations

from typing import Any

from holdfast.errors import HandlerFailed, KeyConflict, MessageDead
from holdfast.model.message import DeadMessageRow, DoneRow, MessageRow, OutcomeKind

from .declared import decode_declared
from .handler import Handler
from .turns import Ending

ERROR_CHARS_MAX = 2000


def done_row(
    row: MessageRow, kind: OutcomeKind, outcome: bytes | None, deliveries: int, now: int, incarnation: int
) -> DoneRow:
    """What stays of a message."""
    return DoneRow(
        row.id,
        row.shard,
        row.entity_type,
        row.entity_id,
        row.method,
        row.key,
        row.payload_hash,
        kind,
        outcome,
        deliveries,
        row.created_at,
        now,
        row.admitted_by,
        incarnation,
    )


def dead_row(row: MessageRow, deliveries: int, text: str, now: int) -> DeadMessageRow:
    """The message whole, for its replay."""
    return DeadMessageRow(
        row.id,
        row.shard,
        row.entity_type,
        row.entity_id,
        row.method,
        row.payload,
        row.payload_hash,
        row.key,
        row.headers,
        deliveries,
        row.crashes,
        text,
        row.created_at,
        now,
    )


def outcome_of(handler: Handler, done: DoneRow) -> tuple[Ending, Any]:
    """How a message ended, from its done row."""
    match OutcomeKind(done.kind):
        case OutcomeKind.REPLIED:
            return Ending.VALUE, None if done.outcome is None else handler.signature.result.decode(done.outcome)
        case OutcomeKind.DECLARED_ERROR:
            return Ending.DECLARED, decode_declared(handler, done.outcome or b"")
        case OutcomeKind.DEAD | OutcomeKind.DISCARDED:
            return Ending.FAILURE, MessageDead((done.outcome or b"").decode(errors="replace"))
        case OutcomeKind.KEY_CONFLICT:
            key = (done.outcome or b"").decode(errors="replace")
            return Ending.FAILURE, KeyConflict(f"the key {key!r} was used before with another payload")


def describe(error: BaseException) -> str:
    """An error as a dead letter keeps it, for operators."""
    cause = error.__cause__ if isinstance(error, HandlerFailed) and error.__cause__ else error
    return f"{type(cause).__name__}: {cause}"[:ERROR_CHARS_MAX]
