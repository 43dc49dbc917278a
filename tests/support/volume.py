"""A file system of its own in a file, whose power can be cut.

The cut is the file system's emergency stop (the ioctl that its own developers test recovery with): from one moment on
nothing more reaches the disk, neither data nor journal. What programs had synced before is there at the next mount,
and what they had only written is not.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, the same number as of XFS
_WITHOUT_FLUSHING = 2


def why_not() -> str | None:
    """What this machine lacks, and how to get it; None where power can be cut."""
    if os.geteuid() != 0:
        return "mounting a file system needs root: run this suite as root"
    if shutil.which("mkfs.ext4") is None or shutil.which("losetup") is None:
        return "needs mkfs.ext4 and losetup: apt-get install e2fsprogs mount"
    return None


class Volume:
    """Mounted at `path`."""

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self._image = folder / "image"
        self._around = folder / "mounts"
        self.path = self._around / "volume"
        self.path.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(megabytes * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        # Whoever makes a network namespace meanwhile has a copy of every mount, which would keep a cut one in use: of
        # what is mounted inside a shared one, the copies go with it.
        _run("mount", "--bind", str(self._around), str(self._around))
        _run("mount", "--make-shared", str(self._around))
        self.mount()
        self.path.chmod(0o777)

    def mount(self) -> None:
        """With whatever reached the disk; the file system's own journal is replayed."""
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def cut(self) -> None:
        """From now on nothing reaches the disk; every write fails."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING))
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Once nobody has a file open on it."""
        _run("umount", str(self.path))

    def remove(self) -> None:
        """Leaves nothing mounted, whatever state it is in."""
        if os.path.ismount(self.path):
            _run("umount", "-l", str(self.path))
        _run("umount", "-l", str(self._around))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
