"""What is cleaned up after the rig however it ends, also where it is killed: its server, mounts, network namespaces.

A shell waits for the end of its standard input, which is ours to close and the kernel's if we can't, and then does it.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence


class Aftermath:
    """Commands that are run at the end, the last one first; what fails is passed over."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        script = "\n".join(["trap '' INT TERM HUP", "cat >/dev/null", *(shlex.join(one) for one in reversed(commands))])
        self._shell = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # a Ctrl-C is for the rig alone
        )

    def come(self) -> None:
        """Returns when all of them were run."""
        self._shell.communicate()
