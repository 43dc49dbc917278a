"""Text for a terminal or a log: whatever is in a name or an error, it can neither move the cursor nor end a line."""

from __future__ import annotations


def escaped(text: str) -> str:
    """The text with everything that can't be seen as `\\xNN`, line ends too."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _code(one) for one in text)


def shown(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return text if text.isprintable() else "\n".join(map(escaped, text.split("\n")))


def _code(one: str) -> str:
    number = ord(one)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
