"""Where a message goes: one entity, by type and id."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.errors import MalformedMessage

from .storable import WORD_BYTES_MAX, WORD_CHARS_MAX, shortened

ENTITY_ID_CHARS_MAX = WORD_CHARS_MAX


class Address(NamedTuple):
    """One entity in the whole cluster."""

    entity_type: str
    entity_id: str

    def __str__(self) -> str:
        return f"{self.entity_type}/{self.entity_id}"


def checked_entity_id(entity_id: object) -> str:
    """The id itself, where it can be one.

    Raises MalformedMessage for what is not text, is empty, too long, or can't be stored as UTF-8.
    """
    if not isinstance(entity_id, str):
        raise MalformedMessage(f"an entity id is text, not {type(entity_id).__name__}")
    if not entity_id or len(entity_id) > ENTITY_ID_CHARS_MAX:
        raise MalformedMessage(f"an entity id has 1 to {ENTITY_ID_CHARS_MAX} characters, this one {len(entity_id)}")
    if "\x00" in entity_id or not entity_id.isascii():
        _refuse_unstorable(entity_id)
    return entity_id


def _refuse_unstorable(entity_id: str) -> None:
    try:
        size = len(entity_id.encode())
    except UnicodeEncodeError as error:
        raise MalformedMessage(f"the entity id {shortened(entity_id)} is not valid Unicode") from error
    if size > WORD_BYTES_MAX:
        raise MalformedMessage(f"an entity id takes at most {WORD_BYTES_MAX} bytes as UTF-8, this one {size}")
    if "\x00" in entity_id:
        raise MalformedMessage(f"the entity id {shortened(entity_id)} holds a NUL character")
