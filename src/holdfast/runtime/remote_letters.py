"""What client and runner ask each other about the dead letters of messages."""

from __future__ import annotations

import msgspec

DEAD_LETTERS = "messages.dead_letters"
REPLAY = "messages.replay"
DISCARD = "messages.discard"


class AskLetters(msgspec.Struct, frozen=True, array_like=True):
    limit: int
    after: int = 0
    entity_type: str | None = None
