"""The rig's processes: runners behind relays, and clients."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from . import stacks
from .client import ClientConfig
from .history import now
from .host import Command, HostConfig, Said
from .network import Cable
from .proc import most_memory, stands_still
from .relay import Dial, Relay
from .scrapes import LastWord
from .wallclock import WallClock

logger = logging.getLogger("holdfast.verify")

PATIENCE_S = 60.0
STACKS_WITHIN_S, LINES_OF_LOG = 1.0, 400
LOOPBACK = "127.0.0.1"
STARVED_BYTES = 32 * 1024 * 1024
"""What a starved process may still take, all in all."""
STARVES_WITHIN_S = 5.0
"""Seconds until it has heard that it is to."""
HOST = (sys.executable, "-m", "holdfast.verify.host")
CLIENT = (sys.executable, "-m", "holdfast.verify.client")


class Member:
    """A process of the rig that can be killed, frozen and started again."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._expected = True
        self.ended_by_itself: list[str] = []

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def spawn(self, command: Sequence[str], *, environment: dict[str, str] | None = None) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the rig alone
                env={**os.environ, **(environment or {})},
            )
        self._expected = False

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def kill(self) -> None:
        self._expected = True
        self.signal(signal.SIGKILL)
        await self.ended()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    @property
    def frozen(self) -> bool:
        return self._process is not None and stands_still([self._process.pid])

    async def ended(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    def ends(self) -> None:
        """It was asked to."""
        self._expected = True

    def note_end(self, code: int) -> None:
        if not self._expected:
            self.ended_by_itself.append(f"{self.name} ended with {code}; {self.log_end()}")

    def log_end(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"the end of {self.log}:", *lines[-LINES_OF_LOG:]])


class Links:
    """What stands between a process and the others: a relay to the store, and one in front of itself."""

    def __init__(self, folder: Path, dial_store: Dial, *, host: str = LOOPBACK, cable: Cable | None = None) -> None:
        """`host` is where its relays listen; `cable`, what it hangs on where it has a network namespace of its own."""
        self.folder = folder
        folder.mkdir()
        self.cable = cable
        self.host = host
        self.store = Relay(dial_store)
        self.store_at = str(folder)
        self.port = free_port()
        self.peers = Relay(lambda: asyncio.open_connection(LOOPBACK if cable is None else cable.address, self.port))
        self.advertised = ""

    async def open(self) -> None:
        if self.cable is None:
            await self.store.listen_unix(str(self.folder / ".s.PGSQL.5432"))
        else:
            self.store_at = f"{self.host}:{await self.store.listen_tcp(self.host)}"
        self.advertised = f"{self.host}:{await self.peers.listen_tcp(self.host)}"

    def mend(self) -> None:
        """Everything gets through, at once."""
        for relay in (self.store, self.peers):
            relay.hear()
            relay.latency_s = 0.0
        if self.cable is not None:
            self.cable.plug_in()

    async def close(self) -> None:
        await self.store.close()
        await self.peers.close()


class RunnerProcess(Member):
    """A runner's place: one process at a time."""

    def __init__(
        self,
        name: str,
        *,
        links: Links,
        config: Callable[[Links], HostConfig],
        command: Sequence[str],
        logs: Path,
        clock_steps: bool,
    ) -> None:
        super().__init__(name, logs)
        self.links = links
        self._config = config
        self._command = command
        self._said: dict[str, asyncio.Future[Said]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._incarnation = 0
        """The first one of the process that runs now."""
        self._words: list[LastWord] = []
        self.clock = WallClock(links.folder / "clock", steps=clock_steps)

    @property
    def address(self) -> str:
        return f"tcp:{self.links.advertised}"

    async def start(self) -> None:
        """Returns once it serves; one that can't, because the store is away say, is tried again."""
        give_up_at = now() + PATIENCE_S
        while True:
            config = msgspec.json.encode(self._config(self.links)).decode()
            serving = self._expect("serving")
            prefix = () if self.links.cable is None else self.links.cable.prefix
            await self.spawn([*prefix, *self._command, config], environment=self.clock.environment)
            self._expected = True  # until it serves
            self._listening = asyncio.create_task(self._listen())
            either: list[asyncio.Future[Any]] = [serving, self._listening]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED, timeout=give_up_at - now())
            if serving.done():
                self._expected = False
                return
            if now() > give_up_at:
                where = await self._where_it_hangs()
                await self.kill()
                raise TimeoutError(f"{self.name} did not start in {PATIENCE_S:.0f} s; {where}")
            await asyncio.sleep(0.3)

    async def drain(self) -> int:
        """SIGTERM, and until it has ended. Raises TimeoutError for one that does not: its log says where it stands."""
        self.ends()
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.ended()
        except TimeoutError:
            where = await self._where_it_hangs()
            await self.kill()
            raise TimeoutError(f"{self.name} did not end in {PATIENCE_S:.0f} s after SIGTERM; {where}") from None

    async def ended(self) -> int:
        code = await super().ended()
        if self._listening is not None:
            await self._listening
        return code

    async def hold(self, *, within_s: float) -> int:
        """Returns when a transaction of it is open, and stays so for a while: the session in the store that has it."""
        return (await self._asked(Command("hold"), "holding", within_s)).session

    async def block(self, seconds: float) -> float:
        """Returns when it is over, with how long it was."""
        return (await self._asked(Command("block", seconds), "blocked", seconds + PATIENCE_S)).seconds

    async def wall_clock(self, *, within_s: float) -> float:
        return (await self._asked(Command("clock"), "clock", within_s)).seconds

    async def starve(self, seconds: float) -> bool:
        """It gets hardly any more memory for so long, and takes all there is of it; that it may end is known.

        Whether it came so far.
        """
        assert self._process is not None
        pid = self._process.pid
        self.ends()
        size = most_memory(pid) or 0
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, (size + STARVED_BYTES, resource.RLIM_INFINITY))
        self._tell(Command("starve", seconds))
        give_up_at = now() + STARVES_WITHIN_S
        while now() < give_up_at:
            if (most_memory(pid) or math.inf) > size + STARVED_BYTES / 2:
                await asyncio.sleep(seconds)
                return True
            await asyncio.sleep(0.05)
        return False

    async def words(self) -> list[LastWord]:
        """Of those that drained and of the one that runs now; but not of who was reaped on the way."""
        if not self.runs:
            return list(self._words)
        try:
            return [*self._words, *self._word(await self._asked(Command("counters"), "counters", PATIENCE_S))]
        except TimeoutError:
            where = await self._where_it_hangs()
            raise TimeoutError(f"{self.name} does not say what it has counted; {where}") from None

    async def _where_it_hangs(self) -> str:
        """The end of its log, with the stacks of its threads and tasks."""
        self.signal(stacks.ON)
        await asyncio.sleep(STACKS_WITHIN_S)
        return self.log_end()

    def _word(self, said: Said) -> list[LastWord]:
        return [LastWord(said.runner_id, said.counters)] if said.runner_id == self._incarnation else []

    async def _asked(self, command: Command, what: str, within_s: float) -> Said:
        """Its next word of that kind. Raises TimeoutError."""
        said = self._expect(what)
        self._tell(command)
        return await asyncio.wait_for(said, within_s)

    def _expect(self, what: str) -> asyncio.Future[Said]:
        future = self._said.get(what)
        if future is None or future.done():
            future = self._said[what] = asyncio.get_running_loop().create_future()
        return future

    def _tell(self, command: Command) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(msgspec.json.encode(command) + b"\n")

    async def _listen(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None
        while line := await process.stdout.readline():
            try:
                said = msgspec.json.decode(line, type=Said)
            except msgspec.DecodeError:
                continue  # it was killed in the middle of a word
            if said.what == "serving":
                self._incarnation = said.runner_id
            if said.what == "drained":
                self._words += self._word(said)
            future = self._said.get(said.what)
            if future is not None and not future.done():
                future.set_result(said)
        self.note_end(await process.wait())


class ClientProcess(Member):
    """A client; each process of it has a name of its own, so that senders are never confused."""

    def __init__(self, name: str, *, links: Links, config: Callable[[str, Links], ClientConfig], logs: Path) -> None:
        super().__init__(name, logs)
        self.links = links
        self._config = config
        self._lives = 0
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        give_up_at = now() + PATIENCE_S
        while True:
            self._lives += 1
            config = self._config(f"{self.name}.{self._lives}", self.links)
            await self.spawn([*CLIENT, msgspec.json.encode(config).decode()])
            if await self._began(give_up_at - now()):
                self._reading = asyncio.create_task(self._watch())
                return
            if now() > give_up_at:
                await self.kill()
                raise TimeoutError(f"{self.name} did not start in {PATIENCE_S:.0f} s; {self.log_end()}")
            await asyncio.sleep(0.3)

    async def _began(self, within_s: float) -> bool:
        assert self._process is not None and self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                return bool(await self._process.stdout.readline())
        except TimeoutError:
            return False

    async def finish(self) -> None:
        """Each of its senders ends what it has begun. Raises TimeoutError where one does not."""
        self.ends()
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                await self.ended()
        except TimeoutError:
            await self.kill()
            raise TimeoutError(f"{self.name} did not end after SIGTERM; {self.log_end()}") from None

    async def ended(self) -> int:
        code = await super().ended()
        if self._reading is not None:
            await self._reading
        return code

    async def _watch(self) -> None:
        assert self._process is not None
        self.note_end(await self._process.wait())


def free_port() -> int:
    """One that nobody has now; a runner keeps its own over restarts, so that its relay finds it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
