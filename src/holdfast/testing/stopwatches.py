"""The engines' stopwatches, in virtual time.

On hot paths they read `time.perf_counter` and `time.monotonic` directly, which costs a fraction of asking somebody.
A deadline reckoned by a real stopwatch would never come in virtual time, and how long something took would be another
number in each run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

KEPT = ("cluster", "entities", "jobs", "runtime", "schedules", "singletons", "transport")
"""The packages that only know the loop's time; stores have threads and files, which know none but the real one."""
READINGS: dict[str, Callable[[], float]] = {"perf_counter": time.perf_counter, "monotonic": time.monotonic}


@contextmanager
def stopwatches(now: Callable[[], float]) -> Generator[None]:
    """While the block runs they show `now()`."""
    replaced = [(module, name) for module in _engines() for name in READINGS if _reads_really(module, name)]
    for module, name in replaced:
        setattr(module, name, now)
    try:
        yield
    finally:
        for module, name in replaced:
            setattr(module, name, READINGS[name])


def _engines() -> list[Any]:
    prefixes = tuple(f"holdfast.{package}." for package in KEPT)
    return [module for name, module in list(sys.modules.items()) if name.startswith(prefixes)]


def _reads_really(module: Any, name: str) -> bool:
    return getattr(module, name, None) is READINGS[name]
