"""Refuses the standard library's `sqlite3` for a file that is open here.

A second SQLite library in one process does not know of the first one's locks, and drops them when it closes the
file: a committed row was lost that way. An audit hook sees `sqlite3.connect`; a hook can't be removed, so there is
one, installed with the first store, and it looks at the table of files that are open now.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import cast
from urllib.parse import unquote, urlsplit

from holdfast.errors import UsageError

_open_files: Counter[str] = Counter()
_installed: list[bool] = []


def guard(path: str) -> None:
    """Keeps other SQLite libraries of this process away from the file until `unguard`."""
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_refuse)
    _open_files[os.path.realpath(path)] += 1


def unguard(path: str) -> None:
    """Ends one `guard`."""
    real = os.path.realpath(path)
    _open_files[real] -= 1
    if _open_files[real] <= 0:
        del _open_files[real]


def is_guarded(path: str) -> bool:
    """Whether this process has the file open as a store."""
    return os.path.realpath(path) in _open_files


def _refuse(event: str, args: tuple[object, ...]) -> None:
    if event != "sqlite3.connect" or not _open_files:
        return
    path = _file_of(args[0])
    if path is not None and is_guarded(path):
        raise UsageError(
            f"{path} is open as a Holdfast store in this process, and a second SQLite library would break its locks; "
            "use self.transaction() or job_context().transaction(), or another process"
        )


def _file_of(database: object) -> str | None:
    if not isinstance(database, str | bytes) and not hasattr(database, "__fspath__"):
        return None
    name = os.fsdecode(cast(str, database))
    return unquote(urlsplit(name).path) if name.startswith("file:") else name
