"""What decorators are told, held against what can be: it would show itself in stored rows only, at work.

Every function returns what it was given, or raises ConfigurationError, which names the declaration.
"""

from __future__ import annotations

from typing import Final, TypeVar

from holdfast.errors import ConfigurationError

from .storable import WAIT_S_MAX, is_word, shortened

NAME_BYTES_MAX: Final = 255
"""The name of a type and that of a method stand in one entry of an index, together with two words."""
COUNT_MAX: Final = 2**31 - 1
"""Of a column."""

T = TypeVar("T")


def told_name(what: str, text: str) -> str:
    """By which stored rows find their code."""
    if not is_word(text) or len(text.encode()) > NAME_BYTES_MAX:
        raise ConfigurationError(f"{what} has a name of 1 to {NAME_BYTES_MAX} bytes, not {shortened(text)}")
    return text


def told_count(what: str, value: T) -> T:
    if value is None or (isinstance(value, int) and 0 < value <= COUNT_MAX):
        return value
    raise ConfigurationError(f"{what} is a number from 1 to {COUNT_MAX}, not {shortened(value)}")


def told_seconds(what: str, value: T) -> T:
    if value is None or (isinstance(value, (int, float)) and 0 < value <= WAIT_S_MAX):
        return value
    raise ConfigurationError(f"{what} is a number of seconds above 0 and at most {WAIT_S_MAX:.0f}, not {value!r}")
