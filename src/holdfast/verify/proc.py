"""What Linux says of a process; elsewhere nothing is known."""

from __future__ import annotations

import sys
from pathlib import Path


def runs(pid: int) -> bool:
    return _state(pid) not in (None, "Z")


def stands_still(pids: list[int]) -> bool:
    """Whether each of them that is still there was stopped."""
    return sys.platform != "linux" or all(_state(pid) in ("T", "Z", None) for pid in pids)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def most_memory(pid: int) -> int | None:
    """Bytes of address space that it had at most; None where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmPeak:")), None)


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
