"""For the tests of applications: a runner in memory whose time the test moves, or several of them as a cluster."""

from holdfast.storage.memory.journal import StorageFaults

from .clock import VirtualClock
from .cluster import LiveCluster, cluster
from .loop import LeftOver, Stalled, VirtualLoop, run
from .runner import LiveRunner, NotSettled, runner

__all__ = [
    "LeftOver",
    "LiveCluster",
    "LiveRunner",
    "NotSettled",
    "Stalled",
    "StorageFaults",
    "VirtualClock",
    "VirtualLoop",
    "cluster",
    "run",
    "runner",
]
