"""What a command's exit code says, to scripts and supervisors."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """0, 1 or 2; nothing else is returned on purpose."""

    OK = 0
    """Done; for `run`: drained."""
    FAILED = 1
    """It did not work, was stopped before it had drained, or what was compared disagrees."""
    USAGE = 2
    """Wrong arguments or configuration: nothing was started."""
