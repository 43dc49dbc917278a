"""Two SQLite libraries in one process: the locks of the one are dropped by the other, and a committed row is lost.

Which is why an open store is closed to the standard library (`test_guard`). Here the file is no store, so nothing
stands in the way.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

VISITOR = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
try:
    connection.execute("BEGIN IMMEDIATE; INSERT INTO row VALUES ('theirs'); COMMIT")
except apsw.BusyError:
    print("busy")
else:
    print("committed")
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "file.db")
    connection = apsw.Connection(path)
    connection.execute("PRAGMA journal_mode = wal; CREATE TABLE row (name TEXT)").fetchall()
    connection.close()
    return path


def visit(path: str) -> str:
    """Another process writes, if it is let."""
    return subprocess.run(
        [sys.executable, "-c", VISITOR, path], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout.strip()


def rows(path: str) -> list[str]:
    connection = apsw.Connection(path)
    try:
        return [name for (name,) in connection.execute("SELECT name FROM row ORDER BY name")]
    finally:
        connection.close()


def test_another_process_waits_while_this_one_writes(path: str) -> None:
    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE; INSERT INTO row VALUES ('ours')")
    assert visit(path) == "busy"
    connection.execute("COMMIT")
    assert visit(path) == "committed"
    connection.close()
    assert rows(path) == ["ours", "theirs"]


def test_naive_a_second_library_drops_the_locks_and_a_committed_row_is_lost(path: str) -> None:
    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE; INSERT INTO row VALUES ('ours')")
    second = sqlite3.connect(path)
    second.execute("SELECT * FROM row").fetchall()
    second.close()  # and with its descriptors the kernel drops every lock of this process on these files
    assert visit(path) == "committed"
    connection.execute("COMMIT")
    connection.close()
    assert rows(path) == ["ours"]
