"""Durable messages as the store keeps them.

A row is a NamedTuple whose fields are the table's columns in order, so that a batch of rows binds as it is.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from .address import Address


class OutcomeKind(enum.IntEnum):
    """How a durable message ended."""

    REPLIED = 0
    DECLARED_ERROR = 1
    DEAD = 2
    KEY_CONFLICT = 3
    DISCARDED = 4


class MessageRow(NamedTuple):
    """A durable message that is stored and not yet consumed.

    `payload_hash` is empty for a message without a key. `due_at` 0 means at once. A timer has a `name`; `every_us`
    above 0 makes it repeat, and `generation` tells a timer set anew from the one it replaced. `deliveries` counts the
    times a handler took it, `crashes` the takes that a runner's death ended. `admitted_by` is the incarnation that
    counted it.
    """

    id: int
    shard: int
    entity_type: str
    entity_id: str
    method: str
    payload: bytes
    payload_hash: bytes
    key: str | None
    headers: bytes | None
    due_at: int
    name: str | None
    every_us: int
    generation: int
    deliveries: int
    crashes: int
    last_error: str | None
    created_at: int
    admitted_by: int

    @property
    def address(self) -> Address:
        return Address(self.entity_type, self.entity_id)


class Consume(NamedTuple):
    """Deletes a stored message. Guarded: the message must still be there."""

    id: int


class DoneRow(NamedTuple):
    """What is left of a durable message for the retention time: its outcome, and who handled it."""

    id: int
    shard: int
    entity_type: str
    entity_id: str
    method: str
    key: str | None
    payload_hash: bytes
    kind: int
    outcome: bytes | None
    deliveries: int
    created_at: int
    finished_at: int
    admitted_by: int
    finished_by: int


class MessageRetry(NamedTuple):
    """A delivery that failed and will be tried again. Guarded: the message must still be there."""

    deliveries: int
    crashes: int
    due_at: int
    last_error: str | None
    id: int


class DeadMessageRow(NamedTuple):
    """A durable message that used up its deliveries, whole, until an operator replays or discards it."""

    id: int
    shard: int
    entity_type: str
    entity_id: str
    method: str
    payload: bytes
    payload_hash: bytes
    key: str | None
    headers: bytes | None
    deliveries: int
    crashes: int
    last_error: str
    created_at: int
    died_at: int


class DeadMessageEnd(NamedTuple):
    """Deletes a dead letter that was replayed or discarded. Guarded: it must still be there."""

    id: int


class StateRow(NamedTuple):
    """An entity's state. Guarded: the stored version must be `version - 1`, and for version 1 there must be none.

    A state that was saved twice in one unit keeps only its last row, so `version` counts commits, not handlers.
    """

    shard: int
    entity_type: str
    entity_id: str
    version: int
    schema: int
    state: bytes


class TimerCancel(NamedTuple):
    """Deletes the pending timer of this name, where there is one."""

    entity_type: str
    entity_id: str
    name: str


class InboxRow(NamedTuple):
    """What anyone but the owner leaves for a shard: `kind` names the codec of `body` (model.inbox)."""

    id: int
    shard: int
    kind: int
    body: bytes
    created_at: int


class Take(NamedTuple):
    """Deletes an inbox row that the owner has moved into its tables. Guarded: it must still be there."""

    id: int
