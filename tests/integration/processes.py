"""A runner of the tests' shop in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


class RunnerProcess:
    """Started, killed and started again as often as a test likes, on one file."""

    def __init__(self, url: str, module: str) -> None:
        self._url = url
        self._module = module
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns once it serves."""
        self.begin()
        self.serving()

    def begin(self) -> None:
        """Returns at once."""
        assert self._process is None, "it runs already"
        command = [sys.executable, "-m", self._module, self._url]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def serving(self) -> None:
        """Returns once it says that it serves."""
        assert self._process is not None and self._process.stdout is not None
        assert self._process.stdout.readline() == "serving\n", "the runner did not start; its errors are above"

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A drain in order."""
        assert self._end(signal.SIGTERM) == 0

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None and process.stdout is not None
        process.send_signal(number)
        try:
            return process.wait(PATIENCE_S)
        finally:
            process.stdout.close()


@contextlib.contextmanager
def runner_process(url: str, module: str = "tests.integration.shop") -> Iterator[RunnerProcess]:
    """Not started yet; killed at the end, if it still runs."""
    process = RunnerProcess(url, module)
    try:
        yield process
    finally:
        if process.runs:
            process.kill()
