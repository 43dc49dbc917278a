"""What every store can hold: the texts by which rows are found, whole numbers, and how far ahead a moment may be.

Many rows are written by one transaction. One that no store can write would take the others' acknowledgements with it,
so what comes from outside is held against these bounds before it becomes a row.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from holdfast.errors import MalformedMessage

WORD_CHARS_MAX: Final = 512
WORD_BYTES_MAX: Final = 1024
"""As UTF-8: two of them, and the names of a type and a method, fit one entry of PostgreSQL's indexes (2,704 bytes)."""
A_WORD: Final = f"text of 1 to {WORD_CHARS_MAX} valid characters ({WORD_BYTES_MAX} bytes)"
NUMBER_MAX: Final = 2**63 - 1
"""Of a column."""
WAIT_S_MAX: Final = 100 * 366 * 24 * 3600.0
"""A century: seconds that anything may be put off for, which leaves the sum of two moments far inside of a column."""
MOMENT_US_MAX: Final = 2**60
"""Some time after the year 36,000; a `datetime` ends before it."""

Number = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
"""An id, or what is counted, as it comes from another process."""
Moment = Annotated[int, msgspec.Meta(ge=0, le=MOMENT_US_MAX)]
"""Microseconds, as they come from another process."""


def is_word(text: object) -> bool:
    """Whether rows can be found by this text: a key, a group, the name of a timer."""
    if not isinstance(text, str) or not 0 < len(text) <= WORD_CHARS_MAX:
        return False
    if text.isascii():
        return "\x00" not in text
    try:
        return len(text.encode()) <= WORD_BYTES_MAX and "\x00" not in text
    except UnicodeEncodeError:
        return False


def checked_word(what: str, text: object) -> str:
    """The text itself. Raises MalformedMessage for what is no word, saying of what."""
    if not is_word(text):
        raise MalformedMessage(f"{what} is {A_WORD}, not {shortened(text)}")
    assert isinstance(text, str)
    return text


def shortened(value: object) -> str:
    """The value for an error's message, which a megabyte of it would not make clearer."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}... ({len(text)} characters)"
