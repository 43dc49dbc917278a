"""Behind pgbouncer in transaction mode: every statement may meet another session of the server, and nothing breaks."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from holdfast.errors import FencedOut
from holdfast.model.address import Address
from holdfast.model.inbox import InboxKind
from holdfast.storage.postgres.store import PostgresRunnerStore, open_runner, options
from tests.support.folders import open_to_servers
from tests.support.membership import claim_all
from tests.support.postgres import SERVER_USER

from .conftest import REGISTRATION, STATE, Database, unit

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(not shutil.which("pgbouncer"), reason="needs pgbouncer: apt-get install pgbouncer"),
]

CONFIGURATION = """
[databases]
postgres = host={host} port=5432 dbname=postgres user=postgres connect_query='SET search_path = {schema}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 6
ignore_startup_parameters = extra_float_digits,application_name
pidfile =
logfile =
"""


@pytest.fixture
async def pooled(database: Database, tmp_path: Path) -> AsyncIterator[PostgresRunnerStore]:
    query = parse_qs(urlsplit(database.url).query)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = tmp_path / "pgbouncer.ini"
    configuration.write_text(
        CONFIGURATION.format(host=query["host"][0], schema=query["search_path"][0], port=port), encoding="utf-8"
    )
    configuration.chmod(0o644)
    open_to_servers(tmp_path)
    user = ["-u", SERVER_USER] if os.geteuid() == 0 else []  # whose socket it has to reach
    quiet = asyncio.subprocess.DEVNULL
    command = ["pgbouncer", "-q", *user, str(configuration)]
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
    try:
        await asyncio.wait_for(_listening(port), 30)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        store = await open_runner(options(url, clock=database.clock, pooled=True, direct_url=database.url))
        yield store
        await store.close()
    finally:
        process.terminate()
        await process.wait()


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0)
        else:
            writer.close()
            await writer.wait_closed()
            return


async def test_the_store_works_behind_a_pooler(database: Database, pooled: PostgresRunnerStore) -> None:
    assert await pooled.membership.register(REGISTRATION) == 1
    assert len(await claim_all(pooled, 1, shards=4)) == 4

    async def one_entity(name: str) -> None:
        for version in range(1, 9):
            await pooled.journal.commit([unit(STATE._replace(entity_id=name, version=version))])
            found = await pooled.messages.state(Address("Cart", name))
            assert found is not None and found.version == version

    await asyncio.gather(*(one_entity(f"c-{number}") for number in range(6)))
    transaction = await pooled.journal.begin(timeout_s=60)
    assert await transaction.fetch("SELECT $1::int AS x", 1) == [{"x": 1}]
    await transaction.commit(unit(STATE._replace(entity_id="own")))
    await pooled.inbox_changed()
    await pooled.inbox.leave([(5, 0, InboxKind.JOB, b"")])
    assert len(await pooled.inbox_reader.inbox(limit=9)) == 1
    assert (await pooled.ledger.ledger()).entities_stored == 7


async def test_the_fence_holds_behind_a_pooler(database: Database, pooled: PostgresRunnerStore) -> None:
    await pooled.membership.register(REGISTRATION)
    await pooled.journal.commit([unit(STATE)])
    other = await database.runner()
    await database.expire((other, 2))
    assert await other.membership.reap() == [1]
    with pytest.raises(FencedOut):
        await pooled.journal.commit([unit(STATE._replace(version=2))])
