"""Folders of a test that a server has to reach: where the tests are run by root, PostgreSQL runs as somebody else."""

from __future__ import annotations

import os
from pathlib import Path


def open_to_servers(folder: Path) -> None:
    """Lets every user pass through it and through what it lies in, where they can't yet."""
    if os.geteuid() != 0:
        return
    for each in (folder, *folder.parents):
        if (mode := each.stat().st_mode) & 0o011 != 0o011:
            each.chmod(mode | 0o011)
