"""What may stand in a label: any object becomes a short, visible, normalised text, or nothing.

Label values come from users (entity types, error classes, routes), so nothing here raises, and nothing that leaves
here can break a scrape or hide in a dashboard. `error_tag` names an error the same way everywhere.
"""

import re
from collections.abc import Mapping
from typing import Final
from unicodedata import normalize

Labels = frozenset[tuple[str, str]]
"""Pairs of label name and cleaned value; hashable, and the order does not matter."""

VALUE_LENGTH_MAX: Final = 120
REASON_LENGTH_MAX: Final = 64

_LOOK_AT_MAX: Final = 4096  # normalising is linear: a megabyte of text costs no more than this much of it

_UNSEEN = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2069\ufeff\ud800-\udfff]",
)

_FOREIGN_REASONS = frozenset(
    {
        ("builtins", "UnicodeDecodeError"),
        ("builtins", "UnicodeEncodeError"),
        ("builtins", "UnicodeTranslateError"),
        ("urllib.error", "URLError"),
    }
)


def label(pairs: Mapping[str, object] | None = None, /, **kwargs: object) -> Labels:
    """The pairs with a value that can be seen; None and empty values are dropped. Never raises."""
    given = {**pairs, **kwargs} if pairs else kwargs
    cleaned = ((clean(name), clean(value)) for name, value in given.items())
    return frozenset((name, value) for name, value in cleaned if name and value)


def clean(value: object) -> str:
    """The value as a label shows it; empty means absent."""
    if value is None:
        return ""
    text = value if type(value) is str else _text(value)
    if len(text) <= VALUE_LENGTH_MAX and text.isascii() and text.isprintable():
        return text
    return _normalised(text)


def _text(value: object) -> str:
    try:
        # A str subclass may lie in its own __str__ and an enum's says the member's name; its content is meant.
        return str.__str__(value) if isinstance(value, str) else str(value)
    except Exception:
        return type(value).__name__


def _normalised(text: str) -> str:
    # Removed before normalising, so that what an invisible character kept apart composes, and once more after it.
    seen = _UNSEEN.sub("", text)[:_LOOK_AT_MAX]
    seen = _UNSEEN.sub("", normalize("NFKC", seen))
    return seen if len(seen) <= VALUE_LENGTH_MAX else seen[:VALUE_LENGTH_MAX] + "..."


def error_tag(error: BaseException) -> str:
    """The error's `reason` where it has one that names a kind of error, else the name of its class. Never raises."""
    reason = _reason(error)
    if reason.isidentifier() and len(reason) <= REASON_LENGTH_MAX:
        return reason
    return type(error).__name__


def _reason(error: BaseException) -> str:
    if any((kind.__module__, kind.__qualname__) in _FOREIGN_REASONS for kind in type(error).__mro__):
        return ""  # there `reason` is a sentence or another error; matched by name, as importing urllib is slow
    try:
        reason = getattr(error, "reason", None)
    except Exception:
        return ""
    return str.__str__(reason) if isinstance(reason, str) else ""
