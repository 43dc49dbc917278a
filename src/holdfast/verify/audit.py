"""The rig's own eyes in PostgreSQL: what the store holds, and a trigger that sees commits of who is not the owner.

The trigger looks when the transaction commits, with the knowledge of that moment: an outcome that is being written
while its shard is somebody else's is noted, in the same transaction.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from holdfast.kit.hashing import shard_of
from holdfast.schedules.schedule import SCHEDULE_TYPE

from .evidence import JobEnd
from .postgres import connect
from .subject import TABLES, Probe
from .workloads import PROBES

PROBE_TYPE = Probe.__name__
TAKEN_IN_S = 30.0
LOOK_S = 0.05
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What the driver raises where the store does not do as it is told."""

AUDIT = (
    "CREATE TABLE verify_stale (what text NOT NULL)",
    """CREATE FUNCTION verify_owner() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE owner bigint;
    BEGIN
        SELECT runner_id INTO owner FROM holdfast_shard WHERE number = NEW.shard;
        IF owner IS DISTINCT FROM NEW.finished_by THEN
            INSERT INTO verify_stale VALUES (format('message %s of shard %s: written by runner %s, owned by %s',
                NEW.id, NEW.shard, NEW.finished_by, coalesce(owner, 0)));
        END IF;
        RETURN NULL;
    END $$""",
    """CREATE CONSTRAINT TRIGGER verify_owner AFTER INSERT ON holdfast_done DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION verify_owner()""",
    """CREATE FUNCTION verify_executor() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (SELECT FROM holdfast_runner WHERE runner_id = NEW.finished_by) THEN
            INSERT INTO verify_stale VALUES (format('job %s of shard %s: ended by runner %s, which was reaped',
                NEW.id, NEW.shard, NEW.finished_by));
        END IF;
        RETURN NULL;
    END $$""",
    """CREATE CONSTRAINT TRIGGER verify_executor AFTER INSERT ON holdfast_job_archive DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION verify_executor()""",
)
"""A job may be ended by its executor, which need not be the owner, but must not have been reaped."""


COUNTED_BY = """
SELECT admitted_by, 'enqueued', count(*) FROM (
    SELECT admitted_by FROM holdfast_job WHERE replay_of IS NULL
    UNION ALL SELECT admitted_by FROM holdfast_job_archive WHERE replay_of IS NULL
) AS taken GROUP BY admitted_by
UNION ALL SELECT finished_by, state, count(*) FROM holdfast_job_archive GROUP BY finished_by, state"""
GROUP = "SELECT first, shards FROM holdfast_shard_group WHERE name = 'default'"


def with_schema(url: str, schema: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}search_path={schema}"


def fresh_schema() -> str:
    return f"holdfast_verify_{secrets.token_hex(4)}"


def through(url: str, place: str) -> str:
    """The same database by way of a relay: a folder with its socket, or HOST:PORT."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    kept = [one for one in parts.query.split("&") if one and not one.startswith(("host=", "port=", "ssl"))]
    if place.startswith("/"):
        return urlunsplit(parts._replace(netloc=f"{user}{at}", query="&".join([f"host={quote(place)}", *kept])))
    return urlunsplit(parts._replace(netloc=f"{user}{at}{place}", query="&".join(["sslmode=disable", *kept])))


class Audit:
    """A connection past all relays; one that broke is made anew."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._turn = asyncio.Lock()
        self._kept: Any = None

    def another(self) -> Audit:
        """With a connection of its own."""
        return Audit(self._url, self._schema)

    async def close(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.terminate()

    async def make_schema(self) -> None:
        connection = await connect(self._url)
        try:
            await connection.execute(f"CREATE SCHEMA {self._schema}")
        finally:
            await connection.close()

    async def make_tables(self) -> None:
        """Once the store's own are there."""
        await self.execute(*TABLES, *AUDIT)

    async def drop_schema(self) -> None:
        connection = await connect(self._url)
        try:
            await connection.execute(f"SET client_min_messages = error; DROP SCHEMA {self._schema} CASCADE")
        finally:
            await connection.close()

    async def execute(self, *statements: str) -> None:
        for statement in statements:
            await self._asked("execute", statement)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._asked("fetch", query)]

    async def _asked(self, verb: str, statement: str) -> Any:
        async with self._turn:
            try:
                if self._kept is None or self._kept.is_closed():
                    self._kept = await connect(with_schema(self._url, self._schema))
                return await getattr(self._kept, verb)(statement)
            except BaseException:
                await self.close()
                raise

    async def owner_of(self, entity_type: str, entity_id: str) -> int:
        """Which runner owns an entity's shard; 0 is none."""
        ((first, shards),) = await self.rows(GROUP)
        number = first + shard_of(entity_type, entity_id, shards)
        ((owner,),) = await self.rows(f"SELECT coalesce(runner_id, 0) FROM holdfast_shard WHERE number = {number}")
        return int(owner)

    async def full(self) -> bool:
        """Whether the store can't take any more."""
        try:
            await self.execute("CREATE TEMPORARY TABLE verify_room AS SELECT generate_series(1, 100000)")
        except AWAY:
            return True
        await self.execute("DROP TABLE verify_room")
        return False

    async def waits_in_transaction(self, session: int) -> bool:
        """False also where the store is away."""
        try:
            states = await self.rows(f"SELECT state FROM pg_stat_activity WHERE pid = {session}")
        except AWAY:
            return False
        return states == [("idle in transaction",)]

    async def owned(self) -> Mapping[int, int]:
        """How many shards each runner owns, 0 for nobody."""
        return dict(await self.rows("SELECT coalesce(runner_id, 0), count(*) FROM holdfast_shard GROUP BY runner_id"))

    async def owners(self) -> Mapping[str, int]:
        """Which runner owns each probe's shard."""
        owned = dict(await self.rows("SELECT number, coalesce(runner_id, 0) FROM holdfast_shard"))
        ((first, shards),) = await self.rows(GROUP)
        names = [f"probe-{number}" for number in range(PROBES)]
        return {name: owned[first + shard_of(PROBE_TYPE, name, shards)] for name in names}

    async def runners(self) -> Mapping[str, int]:
        """The newest runner id of each address."""
        return dict(await self.rows("SELECT address, max(runner_id) FROM holdfast_runner GROUP BY address"))

    async def notes(self) -> list[str]:
        return [operation for (operation,) in await self.rows("SELECT operation FROM verify_note")]

    async def job_ends(self) -> dict[str, JobEnd]:
        query = (
            "SELECT id::text, job_type, state, replay_of::text, key, CASE WHEN reason = 'Duplicate' THEN error END "
            "FROM holdfast_job_archive"
        )
        return {row[0]: JobEnd(*row) for row in await self.rows(query)}

    async def keys_of_schedules(self) -> list[str]:
        """Of the jobs that schedules have submitted, live ones too, once none is on its way to its shard.

        Raises TimeoutError where nobody takes one in.
        """
        async with asyncio.timeout(TAKEN_IN_S):
            while await self.rows("SELECT FROM holdfast_inbox LIMIT 1"):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(LOOK_S)
        found = [
            f"SELECT key FROM {table} WHERE job_type = 'tick'" for table in ("holdfast_job", "holdfast_job_archive")
        ]
        return [key for (key,) in await self.rows(" UNION ALL ".join(found))]

    async def counted(self) -> Mapping[tuple[int, str], int]:
        """Jobs by the incarnation that took them in, or wrote their end, and which of it."""
        return {(runner, what): count for runner, what, count in await self.rows(COUNTED_BY)}

    async def done(self) -> list[tuple[Any, ...]]:
        """Every durable message that has ended: for whoever looks for the cause of a violation."""
        return await self.rows(
            "SELECT id, shard, entity_id, method, key, deliveries, created_at, finished_at, admitted_by, finished_by "
            "FROM holdfast_done ORDER BY finished_at, id"
        )

    async def stale(self) -> list[str]:
        return [what for (what,) in await self.rows("SELECT what FROM verify_stale")]

    async def unfinished(self) -> list[str]:
        """What the store still has to do, in words."""
        found: list[str] = []
        timer = f"to_jsonb(one) ->> 'entity_type' = '{SCHEDULE_TYPE}' AND to_jsonb(one) ->> 'name' IS NOT NULL"
        for table in ("holdfast_message", "holdfast_job", "holdfast_inbox", "holdfast_dead_message"):
            rows = await self.rows(
                f"SELECT to_jsonb(one) - 'payload' - 'body' FROM {table} AS one WHERE ({timer}) IS NOT TRUE "
                "ORDER BY id LIMIT 20"
            )
            found += [f"in {table}: {row}" for (row,) in rows]
        return found
