"""Unix sockets as files: private, short enough, and never taken from somebody who still listens."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from holdfast.errors import ConfigurationError

PATH_BYTES_MAX = 103
"""The shortest limit of the systems we run on: Linux takes 107, macOS 103."""

BACKLOG = 128


class SocketFile:
    """A listening Unix socket and the file it is reached by. `close` takes away both, and only its own file."""

    def __init__(self, path: str) -> None:
        """Raises ConfigurationError where the path is taken, by a listener or by another kind of file."""
        self._directory: str | None = None
        self.path = self._short(path)
        try:
            _remove_stale(self.path)
            self.socket = _bind(self.path)
        except BaseException:
            self._remove_directory()
            raise
        self._inode = Path(self.path).stat().st_ino

    def close(self) -> None:
        self.socket.close()
        with contextlib.suppress(FileNotFoundError):
            if Path(self.path).stat().st_ino == self._inode:
                Path(self.path).unlink()
        self._remove_directory()

    def _short(self, path: str) -> str:
        """The path itself, or one in a directory of its own where the kernel can't take one as long."""
        if len(os.fsencode(path)) <= PATH_BYTES_MAX:
            return path
        self._directory = tempfile.mkdtemp(prefix="holdfast-")
        return str(Path(self._directory) / "socket")

    def _remove_directory(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def _bind(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        Path(path).chmod(0o600)  # before `listen`: until then nobody can connect, so there is no open moment
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"can't listen on the socket {path}: {error}") from error
    return listener


def _remove_stale(path: str) -> None:
    """Removes a socket file that nobody listens on any more."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"{path} is in the way of the socket: it is another kind of file")
    if _somebody_listens(path):
        raise ConfigurationError(f"another process listens on the socket {path}")
    Path(path).unlink()


def _somebody_listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # A full backlog, a lack of rights and whatever else is not a refusal: only that proves that nobody is there.
        return probe.connect_ex(path) != errno.ECONNREFUSED
