"""The runner lock: one process may own the shards of a file.

It is an fcntl lock on a file beside the database. The kernel gives such a lock up when its process ends, however it
ends, but also when the process closes *any* descriptor of that file. So nobody else opens the file: a second runner
in the same process is refused by the table below, before it touches the file.
"""

from __future__ import annotations

import errno
import fcntl
import os

from holdfast.errors import StoreUnavailable

_held: dict[str, int] = {}
"""Lock files that this process holds, with the process id that took them: a fork inherits the table, not the locks."""


class RunnerLock:
    """Held from `take` to `release`."""

    def __init__(self, database: str) -> None:
        self._path = os.path.realpath(f"{database}.runner")
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises StoreUnavailable, with the holder's process id, when another runner holds the lock."""
        if _held.get(self._path) == os.getpid():
            raise StoreUnavailable(f"{self._path}: a runner of this very process ({os.getpid()}) holds the store")
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: the runner lock can't be opened: {error.strerror}") from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise StoreUnavailable(f"{self._path}: the file system refuses locks: {error.strerror}") from error
            raise StoreUnavailable(f"{self._path}: another runner (process {holder}) holds the store") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        _held[self._path] = os.getpid()
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives the lock up; does nothing where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _held.pop(self._path, None)


def _read_holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
