"""Log lines as key=value pairs: an operator reads them at night, and a machine can split them.

    time=2026-05-02T10:11:12.345Z level=info logger=holdfast.runtime msg="runner 7 serves sqlite:////srv/shop.db"

What a log call gives as `extra` follows as further pairs; a traceback follows on lines of its own, which are indented.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

from .plain import escaped

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class KeyValueFormatter(logging.Formatter):
    """One record, one line, and its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _KNOWN},
        }
        line = " ".join(f"{name}={quoted(value)}" for name, value in pairs.items())
        if record.exc_info:
            line += "\n" + indented(self.formatException(record.exc_info))
        return line


def indented(text: str) -> str:
    """Further lines of a record: what an error's message holds can't pass for a record of its own."""
    return "\n".join(f"  {escaped(one)}" for one in text.splitlines())


def quoted(value: object) -> str:
    """The value, in quotes where it would not be read back as one word; always one line."""
    text = str(value)
    if text and text.isprintable() and not set(text) & set(' "=\\'):
        return text
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    plain = inside.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped(plain)}"'


def log_to_stderr(level: str) -> None:
    """Replaces the root logger's handlers: a command's process is ours alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))  # says twice what we say
