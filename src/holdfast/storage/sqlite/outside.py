"""What a process that is not the runner writes: ids and inbox rows, in a thread, behind the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from holdfast.kit.clock import Clock
from holdfast.model.inbox import InboxKind

from .connection import Connection
from .gate import gate
from .session import WriteSession, write_transaction
from .threaded import ThreadedConnection

T = TypeVar("T")
InboxEntry = tuple[int, int, InboxKind, bytes]


class RunnerIds:
    """`Ids` for the runner: inline."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def allocate(self, count: int) -> int:
        assert count > 0, count
        return await self._session.write(lambda run: int(run("ids_allocate", (count,))[0][0]))


class RunnerInbox:
    """`InboxWriter` for the runner: inline."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def leave(self, rows: Sequence[InboxEntry]) -> None:
        now = self._session.clock.now_us()

        def leave(run: Callable[..., list[Any]]) -> None:
            for row in rows:
                run("inbox_insert", (*row, now))

        await self._session.write(leave)


class OutsideWriter:
    """`Ids`, `InboxWriter` and an operator's wishes, for everybody else."""

    def __init__(
        self, thread: ThreadedConnection, sql: Mapping[str, str], clock: Clock, *, gate_path: str, wait_s: float
    ) -> None:
        self._thread = thread
        self._sql = sql
        self._clock = clock
        self._gate_path = gate_path
        self._wait_s = wait_s

    async def allocate(self, count: int) -> int:
        assert count > 0, count

        def allocate(connection: Connection) -> int:
            return int(connection.execute(self._sql["ids_allocate"], (count,)).fetchall()[0][0])

        return await self._write(allocate)

    async def leave(self, rows: Sequence[InboxEntry]) -> None:
        now = self._clock.now_us()

        def leave(connection: Connection) -> None:
            connection.executemany(self._sql["inbox_insert"], [(*row, now) for row in rows])

        await self._write(leave)

    async def want(self, runner_id: int, state: str) -> bool:
        def want(connection: Connection) -> bool:
            return bool(connection.execute(self._sql["runner_want"], (runner_id, state)).fetchall())

        return await self._write(want)

    async def _write(self, act: Callable[[Connection], T]) -> T:
        def write(connection: Connection) -> T:
            with gate(self._gate_path, wait_s=self._wait_s), write_transaction(connection):
                return act(connection)

        return await self._thread.run(write)
