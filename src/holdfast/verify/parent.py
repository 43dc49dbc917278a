"""Processes of the rig end with it, however it ends, also where they are stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when `parent`, which has started it, is gone. Only Linux can.

    The parent says who it is: it may be gone before this process asks, and somebody else be its parent then.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
