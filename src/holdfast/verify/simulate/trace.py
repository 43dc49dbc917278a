"""What happened, line by line, in virtual time. The same seed gives the same lines, byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

LAST = 400
"""Lines that are kept to be shown; the digest is over all."""


class Trace:
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._digest = hashlib.sha256()
        self.lines: list[str] = []
        self.count = 0

    def note(self, what: str) -> None:
        line = f"{self._now():12.6f} {what}"
        self._digest.update(line.encode())
        self._digest.update(b"\n")
        self.count += 1
        self.lines.append(line)
        if len(self.lines) > 2 * LAST:
            del self.lines[:LAST]

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()
