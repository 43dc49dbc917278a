"""One child process, seen from the runner."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys

from .child_frames import HEAD, Order, Said, frame, said_in

BOOT = """
import json, sys
parent, path = json.loads(sys.argv[1])
sys.path[:] = path
from holdfast.jobs.child import main
main(parent, path)
"""


class Worker:
    """A spawned interpreter that runs one attempt at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._inward = process.stdin
        self._outward = process.stdout

    @classmethod
    async def spawn(cls) -> Worker:
        """Raises OSError where the system has no room for a process."""
        said = json.dumps([os.getpid(), sys.path])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BOOT, said, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._outward.at_eof()

    async def order(self, order: Order) -> None:
        """Raises ConnectionError when it is gone."""
        self._inward.write(frame(order))
        await self._inward.drain()

    async def said(self) -> Said:
        """The next thing it says. Raises EOFError when it is gone."""
        (size,) = HEAD.unpack(await self._outward.readexactly(HEAD.size))
        return said_in(await self._outward.readexactly(size))

    def kill(self) -> None:
        """At once; what it was doing is lost. Works twice."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # Not by its own `kill`, which may collect the exit status before those who wait for it.
                os.kill(self.pid, signal.SIGKILL)

    async def over(self) -> str:
        """Returns when it is gone; how it ended."""
        self._inward.close()
        code = await self._process.wait()
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
