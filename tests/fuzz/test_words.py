"""Ids, keys and names of any kind, on real stores: each is kept as it is or refused by name, and hurts no other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import asyncpg
import pytest

from holdfast import App, Entity, message
from holdfast.errors import JobInvalid, MalformedMessage
from holdfast.storage import migrations
from tests.support.postgres import emptied_schema, run

from .effort import TIMES, seeded

NASTY = (
    "", "\0", "a\0b", "'", '"', "'; DROP TABLE holdfast_job; --", "%s", "$1", "{0}", "\\", "\\x00", "\ud800", "a\udfff",
    "\x1b[31m", "\n", "\r\n", "\u202e", "\ufeff", "👍" * 3, "ß", "ẞ", "null", "None", "../..", "k" * 512,
    "k" * 513, "x" * 1_000_000, "é" * 512, "é" * 511 + "k", "字" * 341, "字" * 342, "\U0001f600" * 257,
)  # fmt: skip


class Shop(NamedTuple):
    app: App
    box: Any
    double: Any


def shop() -> Shop:
    app = App("words")

    @app.entity
    class Box(Entity[list[int]]):
        @message(durable=True)
        async def put(self, number: int) -> int:
            self.state.append(number)
            return len(self.state)

        @message(durable=True, dedupe="order")
        async def once(self, order: str) -> int:
            self.state.append(0)
            return len(self.state)

    @app.job
    async def double(number: int) -> int:
        return 2 * number

    return Shop(app, Box, double)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def url(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_servers: Callable[[str], str]
) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/words.db"
        return
    async with emptied_schema(postgres_servers("postgres")) as url:
        yield url


def storable(word: str) -> bool:
    """What the documentation says."""
    try:
        return 0 < len(word) <= 512 and "\0" not in word and len(word.encode()) <= 1024
    except UnicodeEncodeError:
        return False


def words(rng: random.Random) -> list[str]:
    """The nasty ones, and random ones that no compression makes small, up to the bounds."""
    made = ["".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(rng.choice((340, 341, 342)))) for _ in range(3)]
    made += ["".join(chr(rng.randrange(0x20000)) for _ in range(rng.choice((1, 5, 200, 512)))) for _ in range(8)]
    return [*NASTY, *made]


@pytest.mark.slow
async def test_any_word_is_kept_as_it_is_or_refused_beside_others(url: str) -> None:
    (app, box, double), rng = shop(), seeded("words")
    async with app.runner(store=url):
        for number, word in enumerate(words(rng) * TIMES):
            good = app.ref(box, f"good-{number}")
            if not storable(word):
                for option in ({"key": word}, {"name": word, "delay": 1.0}):
                    with pytest.raises(MalformedMessage) as refused:
                        app.ref(box, "x").put.opts(**option)
                    assert len(str(refused.value)) < 1000
                for option in ({"key": word}, {"group": word}):
                    with pytest.raises(JobInvalid) as invalid:
                        double.opts(**option)
                    assert len(str(invalid.value)) < 1000
                with pytest.raises(MalformedMessage):
                    app.ref(box, word)
                refusals = await asyncio.gather(app.ref(box, "x").once(word), good.put(1), return_exceptions=True)
                assert isinstance(refusals[0], MalformedMessage) and refusals[1] == 1
                continue
            whole = app.ref(box, word)
            sends = [
                app.ref(box, f"key-{number}").put.opts(key=word).send(1),
                app.ref(box, f"name-{number}").put.opts(name=word, delay=3600.0).send(1),
                whole.put.opts(key=word).send(1),
            ]
            assert (await asyncio.gather(*sends, good.put(1)))[-1] == 1
            assert (await app.ref(box, f"key-{number}").put.opts(key=word).send(1)).duplicate
            assert (await whole.put.opts(key=word).send(1)).duplicate
            jobs = [await double.opts(key=word, group=word).submit(4) for _ in range(2)]
            assert jobs[0].id == jobs[1].id and await jobs[0].result(timeout=60) == 8


TIMES_TO_WAIT = (-1.0, float("nan"), float("inf"), 1e300, 1e13, 3_162_240_001.0)


@pytest.mark.parametrize("seconds", TIMES_TO_WAIT)
async def test_times_that_no_store_can_hold_are_refused(seconds: float) -> None:
    app, box, double = shop()
    async with app.runner(store="memory:"):
        with pytest.raises(MalformedMessage):
            app.ref(box, "x").put.opts(delay=seconds)
        with pytest.raises(MalformedMessage):
            app.ref(box, "x").put.opts(timeout=seconds)
        with pytest.raises(JobInvalid):
            double.opts(delay=seconds)


async def test_a_moment_before_the_epoch_is_now(url: str) -> None:
    """It used to be stored where no look for what is due would find it."""
    app, box, _ = shop()
    async with app.runner(store=url):
        for at in (datetime(1960, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)):
            receipt = await app.ref(box, f"{at:%Y}").put.opts(at=at).send(1)
            assert await app.cluster.result(receipt, timeout=60) == 1


SCHEMAS = ('we"ird', "it's", "a; DROP SCHEMA public CASCADE; --", "Ünï ©ödé", "%s$1{0}", "a,b")


@asynccontextmanager
async def schema(server: str, name: str) -> AsyncIterator[str]:
    quoted = '"' + name.replace('"', '""') + '"'
    await run(server, f"CREATE SCHEMA {quoted}")
    try:
        yield f"{server}{'&' if '?' in server else '?'}search_path={quote(quoted)}"
    finally:
        await run(server, f"SET client_min_messages = error; DROP SCHEMA {quoted} CASCADE")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("name", SCHEMAS)
async def test_a_schema_of_any_name_holds_a_store(postgres_servers: Callable[[str], str], name: str) -> None:
    server = postgres_servers("postgres")
    async with schema(server, name) as url:
        await migrations.apply(url)
        app, box, _ = shop()
        async with app.runner(store=url):
            assert await app.ref(box, "x").put(1) == 1
            connection = await asyncpg.connect(url)
            try:
                async with connection.transaction():
                    receipt = await app.ref(box, "x").put.opts(tx=connection).send(2)
            finally:
                await connection.close()
            assert await app.cluster.result(receipt, timeout=60) == 2
