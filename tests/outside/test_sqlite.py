"""Sends and submits through users' own transactions on a SQLite file whose runner is another process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import apsw
import pytest

from holdfast.errors import JobNotFound, MessageNotFound, StoreUnavailable, UsageError
from tests.integration.processes import runner_process

from .connections import SQLITE, Undo, of_sqlite3, sqlite_file
from .shop import Book, app, double

PATIENCE_S = 60.0


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path}/shop.db"
    with runner_process(url, "tests.outside.shop") as process:
        process.start()
        yield url


@pytest.mark.parametrize("driver", SQLITE)
async def test_what_commits_is_handled_once_and_what_is_rolled_back_never(url: str, driver: str) -> None:
    book = app.ref(Book, uuid4().hex)
    with pytest.raises(Undo):
        async with SQLITE[driver](url) as connection:
            undone = await book.note.opts(tx=connection).send("undone"), await double.opts(tx=connection).submit(1)
            raise Undo
    async with SQLITE[driver](url) as connection:
        receipt = await book.note.opts(tx=connection).send("a")
        job = await double.opts(tx=connection).submit(21)
        later = await book.note.opts(tx=connection).send("b")
    assert (receipt.duplicate, job.duplicate) == (None, None)
    async with app.client(store=url):
        assert await app.cluster.result(later, timeout=PATIENCE_S) == 2
        assert await job.result(timeout=PATIENCE_S) == 42
        assert await book.lines() == ["a", "b"]
        with pytest.raises(MessageNotFound):
            await app.cluster.result(undone[0])
        with pytest.raises(JobNotFound):
            await undone[1].result()


async def test_blocking_code_needs_no_loop(url: str) -> None:
    async with of_sqlite3(url) as connection:
        job = double.opts(tx=connection).sync.submit(2)  # nothing waits for this thread's loop
    async with app.client(store=url):
        assert await job.result(timeout=PATIENCE_S) == 4


async def test_an_id_that_was_rolled_back_is_not_given_to_the_next(url: str) -> None:
    """A rollback takes the counter back; a handle from it must not lead to somebody else's job."""
    undone = set[int]()
    for _ in range(20):
        with pytest.raises(Undo):
            async with of_sqlite3(url) as connection:
                undone.add(int((await double.opts(tx=connection).submit(1)).id))
                raise Undo
    assert len(undone) == 20
    async with app.client(store=url):
        ordinary = {int(job.id) for job in await app.jobs.submit_many([double.call(1) for _ in range(100)])}
    assert max(ordinary) < min(undone)


async def test_a_file_that_is_open_here_as_a_store_is_refused(url: str) -> None:
    """Also for a connection that is older than the store's, which no audit event can catch."""
    early = [sqlite3.connect(sqlite_file(url)), apsw.Connection(sqlite_file(url))]
    try:
        async with app.client(store=url):
            for connection in early:
                with pytest.raises(UsageError, match="open as a Holdfast store in this process"):
                    await double.opts(tx=connection).submit(1)
    finally:
        for connection in early:
            connection.close()


@pytest.mark.parametrize("driver", SQLITE)
async def test_a_file_without_the_store_is_named(tmp_path: Path, driver: str) -> None:
    with pytest.raises(StoreUnavailable, match="holdfast db migrate"):
        async with SQLITE[driver](f"sqlite:///{tmp_path}/other.db") as connection:
            await double.opts(tx=connection).submit(1)
