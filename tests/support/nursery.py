"""Processes that start without doing their imports: forks of one that has done them, and that outlives the tests.

A `Nursery` is the test's side of it; `python -m tests.support.nursery MODULE` is the other. A child calls the `main` of
the module with its arguments, in the environment that the test has at that moment, and is killed when its test's
process ends. One child of a nursery runs at a time; whoever needs several takes several.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from holdfast.verify.parent import end_with_parent

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0

_idle: dict[str, list[Nursery]] = defaultdict(list)
_all: list[Nursery] = []


class Nursery:
    """Taken with `of`; given back by itself when its child has ended."""

    def __init__(self, module: str) -> None:
        command = [sys.executable, "-m", "tests.support.nursery", module]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, bufsize=0)
        self._module = module
        self.pid = 0
        """The child's."""

    @classmethod
    def of(cls, module: str) -> Nursery:
        if _idle[module]:
            return _idle[module].pop()
        made = cls(module)
        _all.append(made)
        return made

    def bear(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Returns when the child is there, in this process's environment or another one."""
        assert self._process.stdin is not None
        self.pid = 0
        line = json.dumps({"arguments": arguments, "environment": dict(environment or os.environ)}) + "\n"
        self._process.stdin.write(line.encode())
        word, _, pid = self.line().partition(" ")
        assert word == "born", f"the nursery said {word!r}; its errors are above"
        self.pid = int(pid)

    def line(self) -> str:
        """The next one that the child says, or the nursery once it has ended. Raises EOFError for a dead nursery."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
            raise TimeoutError(f"process {self.pid} of {self._module} says nothing")
        if not (read := self._process.stdout.readline()):
            raise EOFError(f"the nursery of {self._module} has ended; its errors are above")
        return read.decode().rstrip("\n")

    def ended(self) -> int:
        """The child's exit code, negative for a signal, once it has ended; what it still said is passed over."""
        while True:
            word, _, code = self.line().partition(" ")
            if word == "ended":
                _idle[self._module].append(self)
                return int(code)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    @property
    def nursery_pid(self) -> int:
        return self._process.pid


def pids() -> set[int]:
    """The nurseries themselves, which no test leaves over: they are everybody's."""
    return {nursery.nursery_pid for nursery in _all}


@atexit.register
def _close_all() -> None:
    for nursery in _all:
        nursery.close()


def _serve(module: str) -> None:
    main, nursery = importlib.import_module(module).main, os.getpid()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            end_with_parent(nursery)
            os.environ.clear()
            os.environ.update(asked["environment"])
            print("born", os.getpid(), flush=True)
            main(*asked["arguments"])
            sys.exit()
        _wait(child)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _wait(child: int) -> None:
    """Returns when it has ended, which it is made to where whoever asked for it is gone."""
    ended, asking = os.pidfd_open(child), sys.stdin.fileno()
    watch = select.poll()
    watch.register(ended, select.POLLIN)
    watch.register(asking, 0)  # that it is hung up on is told in any case
    if any(fd == asking for fd, _ in watch.poll()):
        os.kill(child, signal.SIGKILL)
    os.close(ended)


if __name__ == "__main__":
    _serve(sys.argv[1])
