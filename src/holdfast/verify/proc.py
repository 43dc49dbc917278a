"""What Linux says of a process, and of the machine; elsewhere nothing is known."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple


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


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def folder(pid: int) -> Path | None:
    """Where it works; None where it is gone, or somebody else's."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def most_memory(pid: int) -> int | None:
    """Bytes of address space that it had at most; None where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmPeak:")), None)


class Processors(NamedTuple):
    """How long all processors of the machine together have worked since it was started, and how long there were."""

    worked_s: float
    there_s: float


def processors() -> Processors | None:
    """Source: proc(5), /proc/stat; what was stolen from a virtual machine, it had not."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    user, nice, system, idle, io_wait, *interrupts_and_stolen = ticks
    worked = user + nice + system + sum(interrupts_and_stolen)
    per_s = os.sysconf("SC_CLK_TCK")
    return Processors(worked / per_s, (worked + idle + io_wait) / per_s)


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
