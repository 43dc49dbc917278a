"""Rows in the inbox that were right once: each is taken, refused or left lying, and holds up none beside it.

Only clients and users' transactions write there, but of other versions too, and whoever can write the database.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from holdfast.kit.hashing import shard_of
from holdfast.model.inbox import AttemptEnd, Command, Entry, InboxKind, encode_entry
from holdfast.ports.store import ClientStore
from holdfast.storage.open import open_client_store
from tests.conformance.rows import JOB, MESSAGE
from tests.integration.shop import Cart, app, double
from tests.support.postgres import emptied_schema

from .effort import TIMES, seeded
from .mutations import mutated

pytestmark = pytest.mark.slow

ROWS = 150 * TIMES
SHARDS = 64
PATIENCE_S = 120.0
LOGGED_OF_EACH = 20
"""Lines of the log that one row may be worth in the time that this takes: no row is tried again and again."""
HUGE = 2**62


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def url(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_servers: Callable[[str], str]
) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shop.db"
        return
    async with emptied_schema(postgres_servers("postgres")) as url:
        yield url


def entry(number: int, rng: random.Random) -> Entry:
    """Right in its form, and not always in what it says."""
    key = rng.choice([None, f"k{number}", "k", "nul\0", "\x1b[31m", "x" * 5_000])
    when = rng.choice([0, 1, -1, HUGE])
    match rng.randrange(4):
        case 0:
            return MESSAGE._replace(
                id=number, entity_id="odd", method=rng.choice(["note", "unknown"]),
                payload=rng.choice([b"\x91\x01", b""]),
                key=key, due_at=when, every_us=rng.choice([0, -1]), name=rng.choice([None, "t\0", "t"]),
            )  # fmt: skip
        case 1:
            return JOB._replace(
                id=number, job_type=rng.choice(["double", "unknown"]), payload=rng.choice([b"\x91\x01", b"\xc1"]),
                key=key, due_at=when, priority=rng.choice([2, 9, -1]), max_attempts=rng.choice([1, 0, -1]),
            )  # fmt: skip
        case 2:
            return Command(rng.choice(["cancel", "replay", "discard", "cancel_timer", "dance"]), number, "Cart", "odd")
        case _:
            return AttemptEnd(number, 1, 1, rng.choice(["completed", "retry", "dead", "dance"]), finished_at=when)


async def leave_odd_ones(store: ClientStore, rng: random.Random) -> None:
    first = await store.ids.allocate(ROWS)
    for number in range(first, first + ROWS):
        kind, body = encode_entry(entry(number, rng))
        if rng.random() < 0.5:
            body = mutated(body, rng)
        kind = rng.choice([kind, kind, kind, *InboxKind])
        await store.inbox.leave([(number, rng.randrange(SHARDS), kind, body)])


async def leave_good_ones(store: ClientStore, count: int) -> None:
    first = await store.ids.allocate(count)
    shard = shard_of("Cart", "good", SHARDS)
    for number in range(first, first + count):
        message = MESSAGE._replace(
            id=number, shard=shard, entity_id="good", method="note", payload=b"\x91\x01", payload_hash=b"", key=None
        )
        await store.inbox.leave([(number, shard, *encode_entry(message))])


async def test_rows_gone_wrong_hold_up_none_beside_them(url: str, caplog: pytest.LogCaptureFixture) -> None:
    rng = seeded("inbox")
    caplog.set_level(logging.WARNING)
    async with app.runner(store=url):
        store = await open_client_store(url)
        try:
            await leave_odd_ones(store, rng)
            await leave_good_ones(store, 5)
            async with asyncio.timeout(PATIENCE_S):
                while len(await app.ref(Cart, "good").numbers()) < 5:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        finally:
            await store.close()
        assert await app.ref(Cart, "good").numbers() == [1] * 5
        assert await (await double.submit(4)).result(timeout=PATIENCE_S) == 8
        assert await app.ref(Cart, "other").note(1) == 1
    assert len(caplog.records) < LOGGED_OF_EACH * ROWS
