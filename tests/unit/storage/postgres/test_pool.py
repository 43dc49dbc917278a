"""The pool beside a driver that the test plays."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from holdfast.kit.eager import Rest, begin
from holdfast.storage.postgres.connection import Connection
from holdfast.storage.postgres.pool import Pool


class FakeConnection:
    def is_closed(self) -> bool:
        return False

    def is_in_transaction(self) -> bool:
        return False

    async def fetch(self, sql: str) -> list[Any]:
        return [sql]

    async def close(self, *, timeout: float) -> None:
        """Gone."""


async def test_a_connection_is_opened_for_whoever_takes_a_first_step_without_a_task() -> None:
    """A message that comes in is looked up so, and the driver's timeout works in a task only."""

    async def connect() -> Connection:
        async with asyncio.timeout(20):  # noqa: ASYNC100 - it asks for the task
            return cast(Connection, FakeConnection())

    pool = Pool(connect, size=1, wait_s=1.0, pinned=False)
    begun: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: begun.set_result(begin(pool.fetch("SELECT 1"))))
    rest = await begun
    assert isinstance(rest, Rest)
    assert await rest == ["SELECT 1"]
    await pool.close()
