"""A runner of the tests' shop in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from tests.support.nursery import Nursery

MODULE = "tests.integration.shop"


class RunnerProcess:
    """Started, killed and started again as often as a test likes, on one file."""

    def __init__(self, url: str, module: str) -> None:
        self._url = url
        self._module = module
        self._process: Nursery | None = None

    def start(self) -> None:
        """Returns once it serves."""
        self.begin()
        self.serving()

    def begin(self) -> None:
        """Returns at once."""
        assert self._process is None, "it runs already"
        process = Nursery.of(self._module)
        process.bear(self._url)
        self._process = process

    def serving(self) -> None:
        """Returns once it says that it serves."""
        assert self._process is not None
        assert self._process.line() == "serving", "the runner did not start; its errors are above"

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """A drain in order."""
        assert self._end(signal.SIGTERM) == 0

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None
        os.kill(process.pid, number)
        return process.ended()


@contextlib.contextmanager
def runner_process(url: str, module: str = MODULE) -> Iterator[RunnerProcess]:
    """Not started yet; killed at the end, if it still runs."""
    process = RunnerProcess(url, module)
    try:
        yield process
    finally:
        if process.runs:
            process.kill()
