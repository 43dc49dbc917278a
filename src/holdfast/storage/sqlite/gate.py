"""The gate through which processes other than the runner write, one after another, in the order they came.

A crowd of writers that all poll SQLite's lock starves the slow and the runner alike. So a client takes a ticket (a
number from a small file) and a lock on the byte of that number, and waits until nobody before it holds one; the
kernel drops the byte's lock when a client dies. After its write it stays in the gate for as long as it wrote, at most
a tenth of a second, so that the runner, which does not queue here, always finds the lock free before the next client
comes.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from holdfast.errors import PersistenceError

_POLL_S = 0.001
_PAUSE_MIN_S = 0.001
_PAUSE_MAX_S = 0.1
_TICKET = struct.Struct("<q")
_BYTES_OF_LOCKS = 1024
"""Where ticket locks start: byte 0 guards the counter, which lies in the bytes behind it."""

_gates: dict[tuple[str, int], tuple[_Gate, int]] = {}
_gates_lock = threading.Lock()


@contextmanager
def gate(path: str, *, wait_s: float) -> Generator[None, None, None]:
    """Passes the gate of this file. Raises PersistenceError after `wait_s` seconds of waiting."""
    shared = _borrow(path)
    try:
        deadline = time.monotonic() + wait_s
        if not shared.in_process.acquire(timeout=wait_s):
            raise _too_long(wait_s)
        try:
            with shared.ticket(deadline, wait_s):
                entered = time.monotonic()
                yield
                time.sleep(min(max(_PAUSE_MIN_S, time.monotonic() - entered), _PAUSE_MAX_S))
        finally:
            shared.in_process.release()
    finally:
        _give_back(path)


class _Gate:
    """One descriptor per process and file: closing any of them would drop the locks of all."""

    def __init__(self, path: str) -> None:
        self.in_process = threading.Lock()
        try:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise PersistenceError(f"{path}: the gate of the store can't be opened: {error.strerror}") from error

    @contextmanager
    def ticket(self, deadline: float, wait_s: float) -> Generator[None, None, None]:
        number = self._take()
        try:
            while self._somebody_before(number):
                if time.monotonic() >= deadline:
                    raise _too_long(wait_s)
                time.sleep(_POLL_S)
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, _BYTES_OF_LOCKS + number)

    def _take(self) -> int:
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, 0)  # held for microseconds, whatever happens to its holder
        try:
            stored = os.pread(self.descriptor, _TICKET.size, 1)
            number = (_TICKET.unpack(stored)[0] if len(stored) == _TICKET.size else 0) + 1
            os.pwrite(self.descriptor, _TICKET.pack(number), 1)
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, _BYTES_OF_LOCKS + number)
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, 0)
        return int(number)

    def _somebody_before(self, number: int) -> bool:
        """Tries a shared lock on all earlier tickets; it fails while one is held."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, number, _BYTES_OF_LOCKS)
        except OSError:
            return True
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, number, _BYTES_OF_LOCKS)
        return False


def _borrow(path: str) -> _Gate:
    with _gates_lock:
        key = (os.path.realpath(path), os.getpid())
        shared, users = _gates.get(key) or (_Gate(path), 0)
        _gates[key] = (shared, users + 1)
        return shared


def _give_back(path: str) -> None:
    with _gates_lock:
        key = (os.path.realpath(path), os.getpid())
        shared, users = _gates.pop(key)
        if users > 1:
            _gates[key] = (shared, users - 1)
        else:
            os.close(shared.descriptor)


def _too_long(wait_s: float) -> PersistenceError:
    return PersistenceError(f"the store stayed busy for more than {wait_s} s; nothing was written")
