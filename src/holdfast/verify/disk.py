"""A small disk for the rig's own PostgreSQL, which can be full: a file system in memory. Mounting one needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from .aftermath import Aftermath

FULL_DISK = "full disk"
"""The fault."""
SIZE = "4g"
LEFT_BYTES = 128 * 1024
"""What is left when the disk is made small, and then taken too."""


@cache
def no_disk_to_fill() -> str | None:
    """Why there can't be one."""
    if os.geteuid() != 0:
        return "a small disk needs root, who may mount one: sudo"
    if shutil.which("mount") is None:
        return "mounting a small disk needs `mount`: apt-get install mount"
    with TemporaryDirectory() as folder:
        try:
            Disk(Path(folder)).close()
        except subprocess.CalledProcessError as error:
            return f"a small disk can't be mounted here: {error.stderr.decode(errors='replace').strip()}"
    return None


class Disk:
    """Mounted on a folder when it is made, until `close` or our end."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._ballast = folder / "ballast"
        self._aftermath = Aftermath([("umount", "-l", self._folder)])
        owner = folder.stat()
        options = f"size={SIZE},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        try:
            _run("mount", "-t", "tmpfs", "-o", options, "holdfast-verify", self._folder)
        except BaseException:
            self.close()
            raise

    def fill(self) -> None:
        """From here on there is no room."""
        room = os.statvfs(self._folder)
        used = (room.f_blocks - room.f_bfree) * room.f_frsize
        _run("mount", "-o", f"remount,size={used + LEFT_BYTES}", self._folder)
        with suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
            ballast.write(bytes(2 * LEFT_BYTES))

    def clear(self) -> None:
        self._ballast.unlink(missing_ok=True)
        _run("mount", "-o", f"remount,size={SIZE}", self._folder)

    def close(self) -> None:
        self._aftermath.come()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
