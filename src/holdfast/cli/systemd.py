"""Telling systemd: ready, stopping, and that the event loop still turns.

The protocol is a datagram to the socket named by NOTIFY_SOCKET (sd_notify(3)); without that variable nothing is sent.
The watchdog is fed from a thread of its own for as long as the loop's beat is not overdue: a runner that is not ready
because its database is away is left alone, one whose loop is stuck is restarted.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from holdfast.model.health import Health

logger = logging.getLogger("holdfast.cli")

SOCKET_VARIABLE = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
LOOP_CHECK = "event loop"
TOLD_WITHIN_S = 1.0
"""How long a manager that does not listen may hold up whoever tells it something."""


class Systemd:
    """Notifies while the block runs."""

    def __init__(self, health: Callable[[], Health]) -> None:
        """`health` is asked from a thread of its own."""
        self._health = health
        self._address = os.environ.get(SOCKET_VARIABLE, "")
        watchdog_us = os.environ.get(WATCHDOG_VARIABLE, "")
        self._every_s = int(watchdog_us) / 2e6 if watchdog_us.isdigit() else 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._tell("READY=1")
        if self._address and self._every_s:
            self._thread = threading.Thread(target=self._feed, name="holdfast-systemd", daemon=True)
            self._thread.start()
        return self

    def stopping(self) -> None:
        """A drain may take its time: systemd waits for TimeoutStopSec."""
        self._tell("STOPPING=1")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _feed(self) -> None:
        while True:
            if all(check.ok for check in self._health().checks if check.name == LOOP_CHECK):
                self._tell("WATCHDOG=1")
            if self._ended.wait(self._every_s):
                return

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(TOLD_WITHIN_S)
                line.sendto(state.encode(), address)
        except OSError as error:
            logger.warning("systemd was not told %s: %s", state, error)
