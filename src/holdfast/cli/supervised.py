"""The runners that a supervisor watches: where their pages are, and what all of them say together.

A runner reports the URL of its pages through a pipe as soon as it serves; its end of the supervisor's other pipe is its
standard input, and when that closes, the supervisor is gone and the runner drains.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from holdfast.metrics import MetricsService
from holdfast.metrics.exposition import Format, negotiated
from holdfast.metrics.namespaces import Http
from holdfast.metrics.union import Page, Union, read_page
from holdfast.model.health import Check, Health

logger = logging.getLogger("holdfast.cli")

T = TypeVar("T")

REPORT_VARIABLE = "HOLDFAST_REPORT_FD"
"""Names the pipe through which a supervised runner says where its pages are."""
SUPERVISED_STORE_VARIABLE = "HOLDFAST_SUPERVISED_STORE"
"""The URL of the store for a supervised runner; as an argument everybody on the machine could read it."""
ASK_S = 5.0


def report_to_supervisor(url: str | None, gone: Callable[[], None]) -> bool:
    """Tells the supervisor, where there is one, that this runner serves; `gone` is called when the supervisor ends."""
    report_fd = os.environ.pop(REPORT_VARIABLE, None)
    if report_fd is None:
        return False
    with os.fdopen(int(report_fd), "w", encoding="utf-8") as report:
        report.write(json.dumps({"http": url}) + "\n")

    def watch() -> None:
        while os.read(0, 4096):
            pass
        gone()

    threading.Thread(target=watch, name="holdfast-supervisor", daemon=True).start()
    return True


def supervisors_store() -> str | None:
    """The store that the supervisor, where there is one, has chosen."""
    return os.environ.pop(SUPERVISED_STORE_VARIABLE, None)


class Child:
    """A runner's process."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, report_fd: int) -> None:
        self.number = number
        self.url: str | None = None
        self.last: Page = {}
        self._process = process
        self._started = monotonic()
        self._reported = asyncio.ensure_future(asyncio.to_thread(self._read_report, report_fd))

    @property
    def ready(self) -> bool:
        """Whether it has ever served."""
        return self.url is not None

    @property
    def lived_s(self) -> float:
        return monotonic() - self._started

    @property
    def name(self) -> str:
        return f"runner {self.number} (pid {self._process.pid})"

    def signal(self, number: int) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        code = await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._reported
        return code

    def _read_report(self, fd: int) -> None:
        with os.fdopen(fd, encoding="utf-8") as report:
            for line in report:
                self.url = json.loads(line)["http"]


class Children:
    """All runners: their metrics as one page, their health as one answer. Asked on any thread."""

    def __init__(self, token: str | None) -> None:
        self._own = MetricsService()
        self.http: Http = self._own.http
        self._token = token
        self._union = Union()
        self._children: list[Child] = []
        self._lock = threading.Lock()

    def enter(self, child: Child) -> None:
        with self._lock:
            self._children.append(child)

    def leave(self, child: Child) -> None:
        """It has ended: what it had counted by the last scrape stays in the sums."""
        with self._lock:
            self._children.remove(child)
            self._union.retire(child.last)

    def signal(self, number: int) -> None:
        for child in self._running():
            child.signal(number)

    def exposition(self, accept: str | None = None) -> tuple[str, bytes]:
        """What `/metrics` serves: the sum over the runners, and this process's own pages counted in."""
        self._ask_all(self._scrape)
        form = negotiated(accept)
        own = read_page(self._own.exposition(Format.OPENMETRICS.value)[1].decode())
        with self._lock:
            text = self._union.page([own, *(child.last for child in self._children)], form)
        return form.value, text.encode()

    def health(self) -> Health:
        """Ready where every runner is."""
        return Health.of(self._ask_all(self._check) or [Check("runners", False, "none runs")])

    def _running(self) -> list[Child]:
        with self._lock:
            return list(self._children)

    def _ask_all(self, ask: Callable[[Child], T]) -> list[T]:
        children = self._running()
        if not children:
            return []
        with ThreadPoolExecutor(len(children), thread_name_prefix="holdfast-ask") as pool:
            return list(pool.map(ask, children))

    def _scrape(self, child: Child) -> None:
        """A runner that does not answer shows what it said last: its counters must not fall."""
        if child.url is None:
            return
        try:
            page = read_page(self._get(f"{child.url}/metrics", Format.OPENMETRICS.value))
        except (URLError, OSError, ValueError) as error:
            logger.warning("%s gives no metrics: %s", child.name, error)
            return
        child.last = page

    def _check(self, child: Child) -> Check:
        if child.url is None:
            return Check(child.name, False, "starting")
        try:
            self._get(f"{child.url}/readyz")
        except HTTPError as error:
            return Check(child.name, False, "not ready" if error.code == 503 else f"answers {error.code}")
        except (URLError, OSError) as error:
            return Check(child.name, False, f"does not answer: {error}")
        return Check(child.name, True, "ready")

    def _get(self, url: str, accept: str = "*/*") -> str:
        headers = {"Accept": accept, **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        with urlopen(Request(url, headers=headers), timeout=ASK_S) as answer:
            text: str = answer.read().decode()
        return text
