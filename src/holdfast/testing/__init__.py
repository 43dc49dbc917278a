"""For the tests of applications: a runner in memory whose time the test moves."""

from holdfast.storage.memory.journal import StorageFaults

from .clock import VirtualClock
from .loop import LeftOver, Stalled, VirtualLoop, run
from .runner import LiveRunner, NotSettled, runner

__all__ = [
    "LeftOver",
    "LiveRunner",
    "NotSettled",
    "Stalled",
    "StorageFaults",
    "VirtualClock",
    "VirtualLoop",
    "run",
    "runner",
]
