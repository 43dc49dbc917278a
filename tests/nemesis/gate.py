"""A gate inside the store: while it is closed, a write of a gated entity's state waits in the middle of its statement.

So a commit is in flight for as long as a test wants, whatever the machine is doing: the server has begun it, its fence
was taken, and nobody knows yet how it ends.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from holdfast.verify.audit import Audit
from holdfast.verify.postgres import connect

GATED = "gated"
"""What the ids of gated entities begin with."""


class Gate:
    """One in each rig."""

    def __init__(self, audit: Audit, url: str) -> None:
        self._audit = audit
        self._url = url
        self._key = secrets.randbelow(2**31)

    async def build(self) -> None:
        await self._audit.execute(
            f"""CREATE FUNCTION verify_gate() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM set_config('lock_timeout', '0', true), pg_advisory_xact_lock_shared({self._key});
                RETURN NEW;
            END $$""",
            f"""CREATE TRIGGER verify_gate BEFORE INSERT OR UPDATE ON holdfast_state
            FOR EACH ROW WHEN (NEW.entity_id LIKE '{GATED}%') EXECUTE FUNCTION verify_gate()""",
        )

    @asynccontextmanager
    async def closed(self) -> AsyncGenerator[None, None]:
        connection = await connect(self._url)
        try:
            await connection.execute(f"SELECT pg_advisory_lock({self._key})")
            yield
        finally:
            await connection.close()

    async def waiting(self) -> frozenset[int]:
        """The server's sessions that stand before it."""
        query = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {self._key} AND NOT granted"
        return frozenset(pid for (pid,) in await self._audit.rows(query))
