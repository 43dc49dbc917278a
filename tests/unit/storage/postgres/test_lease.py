"""The lease's own line: in another thread's event loop, and through breaks of the connection."""

from __future__ import annotations

import asyncio
import threading

import pytest

from holdfast.errors import ConfigurationError, PersistenceError
from holdfast.ports.membership import Renewal
from holdfast.storage.postgres.store import open_runner, options
from tests.support.postgres import emptied_schema

from .conftest import LEASE_US, Database

pytestmark = pytest.mark.postgres


async def test_a_lease_is_kept_from_another_thread_while_the_stores_loop_stands_still(database: Database) -> None:
    owner = await database.runner()
    renewed: list[Renewal | None] = []

    async def keep() -> None:
        line = await owner.lease_line()
        for _ in range(3):
            database.clock.now += 1_000_000
            renewed.append(await line.renew(1, lease_ttl_us=LEASE_US, state="active"))
        await line.close()

    thread = threading.Thread(target=lambda: asyncio.run(keep()))
    thread.start()
    thread.join(120)  # the loop of this test does nothing until then
    assert not thread.is_alive()
    assert owner.lease_on_thread
    (row,) = await owner.membership.runners()
    assert len(renewed) == 3 and row.expires_at == database.clock.now + LEASE_US


async def test_a_renewal_outlives_its_connection(database: Database) -> None:
    owner = await database.runner()
    line = await owner.lease_line()
    assert await line.renew(1, lease_ttl_us=LEASE_US, state="active") is not None
    await database.admin.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast lease'"
    )
    assert await line.renew(1, lease_ttl_us=LEASE_US, state="active") is not None
    await line.close()
    await line.close()
    with pytest.raises(PersistenceError):
        await line.renew(1, lease_ttl_us=LEASE_US, state="active")


async def test_a_renewal_that_is_held_up_gives_up_in_time(database: Database) -> None:
    """Here by somebody who has locked the runner's row; the next one finds it free."""
    owner = await database.runner()
    line = await owner.lease_line()
    intruder = await database.connect()
    await intruder.execute("BEGIN; SELECT FROM holdfast_runner FOR UPDATE")
    with pytest.raises(PersistenceError):
        await asyncio.wait_for(line.renew(1, lease_ttl_us=600_000, state="active"), 30)
    await intruder.execute("COMMIT")
    assert await line.renew(1, lease_ttl_us=LEASE_US, state="active") is not None
    await line.close()


async def test_a_direct_url_of_another_store_is_refused(database: Database) -> None:
    await database.runner()
    async with emptied_schema(database.server) as elsewhere:
        with pytest.raises(ConfigurationError, match="another store"):
            await open_runner(options(database.url, clock=database.clock, direct_url=elsewhere))
