"""Sends and submits through users' own transactions on PostgreSQL: there when they commit, never when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy.orm

from holdfast import App, Entity, message
from holdfast.entities.door import Receipt
from holdfast.errors import (
    BlockingCallOnLoop,
    JobDead,
    JobNotFound,
    KeyConflict,
    MessageNotFound,
    NotStarted,
    StoreUnavailable,
    UsageError,
)
from tests.support.postgres import emptied_schema, fresh_schema

from .connections import BLOCKING, POSTGRES, Undo, connect, django_databases, engine, of_asyncpg
from .shop import SETTINGS, Book, Notes, app, double

pytestmark = pytest.mark.postgres

PATIENCE_S = 60.0


@pytest.fixture
async def url(postgres_servers: Callable[[str], str]) -> AsyncIterator[str]:
    async with emptied_schema(postgres_servers("postgres")) as url:
        yield url


@pytest.fixture
async def runner(url: str) -> AsyncIterator[None]:
    async with app.runner(store=url):
        yield


@pytest.fixture
def book(runner: None) -> Book:
    return app.ref(Book, uuid4().hex)


@pytest.mark.parametrize("driver", POSTGRES)
async def test_what_commits_is_handled_once(url: str, book: Book, driver: str) -> None:
    async with POSTGRES[driver](url) as connection:
        receipt = await book.note.opts(tx=connection).send("a")
        job = await double.opts(tx=connection).submit(21)
    assert (receipt.duplicate, job.duplicate) == (None, None)
    assert await app.cluster.result(receipt, timeout=PATIENCE_S) == 1
    assert await job.result(timeout=PATIENCE_S) == 42
    assert await book.lines() == ["a"]


@pytest.mark.parametrize("driver", POSTGRES)
async def test_what_is_rolled_back_never_was(url: str, book: Book, driver: str) -> None:
    with pytest.raises(Undo):
        async with POSTGRES[driver](url) as connection:
            receipt = await book.note.opts(tx=connection).send("a")
            job = await double.opts(tx=connection).submit(21)
            raise Undo
    with pytest.raises(MessageNotFound):
        await app.cluster.result(receipt, timeout=PATIENCE_S)
    with pytest.raises(JobNotFound):
        await job.result(timeout=PATIENCE_S)
    assert await book.note("b") == 1


@pytest.mark.parametrize("driver", BLOCKING)
async def test_blocking_code_sends_and_submits_in_its_own_thread(url: str, book: Book, driver: str) -> None:
    async with POSTGRES[driver](url) as connection:

        def act() -> Receipt[int]:
            double.opts(tx=connection, key="k").sync.submit(1)
            return book.note.opts(tx=connection).sync.send("a")

        receipt = act() if driver == "django" else await asyncio.to_thread(act)
    assert await app.cluster.result(receipt, timeout=PATIENCE_S) == 1
    assert (await double.opts(key="k").submit(1)).duplicate


async def test_a_django_alias_names_the_connection(url: str, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    databases = django_databases(url)
    monkeypatch.setattr("django.db.connections", databases)

    def act() -> Receipt[int]:
        try:
            return book.note.opts(tx="default").sync.send("a")  # in Django's autocommit, hence committed
        finally:
            databases.close_all()

    assert await app.cluster.result(await asyncio.to_thread(act), timeout=PATIENCE_S) == 1
    with pytest.raises(UsageError, match="'other'"):
        await book.note.opts(tx="other").send("a")


class Elsewhere:
    """The same declarations in a process that opens nothing."""

    def __init__(self) -> None:
        self.app = App("elsewhere", settings=SETTINGS)

        @self.app.entity(name="Book")
        class Far(Entity[Notes]):
            @message(durable=True)
            async def note(self, line: str) -> int:
                raise NotImplementedError

        @self.app.job(name="double")
        async def far_double(number: int) -> int:
            raise NotImplementedError

        self.book = self.app.ref(Far, "far")
        self.double = far_double


async def test_nothing_has_to_be_open_where_it_is_sent_from(url: str, runner: None) -> None:
    elsewhere = Elsewhere()
    async with of_asyncpg(url) as connection:
        receipt = await elsewhere.book.note.opts(tx=connection).send("a")
        job = await elsewhere.double.opts(tx=connection).submit(4)
    assert await app.cluster.result(receipt, timeout=PATIENCE_S) == 1
    assert await app.jobs.wait(job.id, timeout=PATIENCE_S) == 8
    with pytest.raises(NotStarted):
        await job.result()


async def test_a_savepoint_that_is_rolled_back_takes_its_messages_with_it(url: str, book: Book) -> None:
    async with of_asyncpg(url) as connection:
        await book.note.opts(tx=connection).send("a")
        with pytest.raises(Undo):
            async with connection.transaction():
                lost = await book.note.opts(tx=connection).send("lost")
                raise Undo
        kept = await book.note.opts(tx=connection).send("b")
    assert await app.cluster.result(kept, timeout=PATIENCE_S) == 2
    assert await book.lines() == ["a", "b"]
    with pytest.raises(MessageNotFound):
        await app.cluster.result(lost)


async def test_one_transactions_messages_are_handled_in_the_order_they_were_sent(url: str, book: Book) -> None:
    async with of_asyncpg(url) as connection:
        receipts = [await book.note.opts(tx=connection).send(str(number)) for number in range(50)]
    assert await app.cluster.result(receipts[-1], timeout=PATIENCE_S) == 50
    assert await book.lines() == [str(number) for number in range(50)]


async def test_open_transactions_hold_up_neither_each_other_nor_the_runner(url: str, book: Book) -> None:
    """Not even on the same key of the same entity and the same job."""
    first, second = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        async with asyncio.timeout(PATIENCE_S):
            one, other = first.transaction(), second.transaction()
            await one.start()
            await other.start()
            early = await book.note.opts(tx=first, key="k").send("a")
            late = await book.note.opts(tx=second, key="k").send("a")
            submitted = [await double.opts(tx=connection, key="k").submit(1) for connection in (first, second)]
            assert await book.note.opts(key="k")("a") == 1
            owned = await double.opts(key="k").submit(1)
            assert await owned.result() == 2
            await other.commit()
            assert await app.cluster.result(late, timeout=PATIENCE_S) == 1
            await one.commit()
            assert await app.cluster.result(early, timeout=PATIENCE_S) == 1
            assert [await job.result(timeout=PATIENCE_S) for job in submitted] == [2, 2]
    finally:
        first.terminate()
        second.terminate()
    assert await book.lines() == ["a"]


async def test_a_conflict_of_keys_is_the_owners_to_find_and_becomes_the_outcome(url: str, book: Book) -> None:
    assert await book.note.opts(key="k")("a") == 1
    await double.opts(key="k").submit(1)
    async with of_asyncpg(url) as connection:
        receipt = await book.note.opts(tx=connection, key="k").send("other")
        job = await double.opts(tx=connection, key="k").submit(2)
    with pytest.raises(KeyConflict):
        await app.cluster.result(receipt, timeout=PATIENCE_S)
    with pytest.raises(JobDead, match="'k'"):
        await job.result(timeout=PATIENCE_S)


async def test_a_delay_counts_from_the_send_on_the_databases_clock(url: str, book: Book) -> None:
    async with of_asyncpg(url) as connection:
        before = await connection.fetchval("SELECT holdfast_now()")
        job = await double.opts(tx=connection, delay=3600.0).submit(1)
        after = await connection.fetchval("SELECT holdfast_now()")
        with pytest.raises(JobNotFound):
            await app.jobs.status(job)  # not before the commit
    due_at = (await app.jobs.status(job)).due_at
    assert due_at is not None and before <= due_at - 3_600_000_000 <= after
    with pytest.raises(TimeoutError):
        await job.result(timeout=0.5)


async def test_many_submits_go_through_one_connection_or_none(url: str, book: Book) -> None:
    async with of_asyncpg(url) as connection:
        calls = [double.opts(tx=connection).call(number) for number in range(5)]
        jobs = await app.jobs.submit_many(calls)
        with pytest.raises(UsageError, match="apart"):
            await app.jobs.submit_many([*calls, double.call(1)])
    assert [await job.result(timeout=PATIENCE_S) for job in jobs] == [0, 2, 4, 6, 8]


async def test_the_users_rows_and_the_message_commit_together(url: str, book: Book) -> None:
    with sqlalchemy.orm.Session(engine(url)) as session:
        session.execute(sqlalchemy.text("CREATE TABLE orders (id bigint)"))
        session.execute(sqlalchemy.text("INSERT INTO orders VALUES (7)"))
        receipt = await book.note.opts(tx=session).send("order 7")
        session.commit()
        assert session.execute(sqlalchemy.text("SELECT id FROM orders")).scalars().all() == [7]
        session.execute(sqlalchemy.text("DROP TABLE orders"))
        session.commit()
    assert await app.cluster.result(receipt, timeout=PATIENCE_S) == 1


async def test_a_database_without_the_store_is_named(postgres_servers: Callable[[str], str]) -> None:
    async with fresh_schema(postgres_servers("postgres")) as empty:
        for driver in ("asyncpg", "psycopg", "sqlalchemy async session", "django"):
            with pytest.raises(StoreUnavailable, match="holdfast db migrate"):
                async with POSTGRES[driver](empty) as connection:
                    await double.opts(tx=connection).submit(1)


async def test_a_store_that_no_runner_has_served_is_named(url: str) -> None:
    async with of_asyncpg(url) as connection:
        with pytest.raises(StoreUnavailable, match="first runner"):
            await Elsewhere().double.opts(tx=connection).submit(1)


async def test_a_role_that_may_not_is_told_what_it_needs(url: str, runner: None) -> None:
    with connect(url, autocommit=True) as owner:
        schema = owner.execute("SELECT current_schema()").fetchone()[0]
        role = f"guest_{schema}"
        owner.execute(f"CREATE ROLE {role}")
        try:
            with connect(url) as connection:
                connection.execute(f"SET ROLE {role}")
                with pytest.raises(StoreUnavailable, match="holdfast db migrate"):
                    await double.opts(tx=connection).submit(1)
            owner.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
            with connect(url) as connection:
                connection.execute(f"SET ROLE {role}")
                with pytest.raises(StoreUnavailable, match="USAGE on the sequence"):
                    await double.opts(tx=connection).submit(1)
            owner.execute(f"GRANT USAGE ON SEQUENCE holdfast_id TO {role}")
            owner.execute(f"GRANT SELECT ON holdfast_meta, holdfast_shard_group TO {role}")
            owner.execute(f"GRANT INSERT ON holdfast_inbox TO {role}")
            with connect(url) as connection:
                connection.execute(f"SET ROLE {role}")
                job = await double.opts(tx=connection).submit(1)
            assert await job.result(timeout=PATIENCE_S) == 2
        finally:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


async def test_what_can_not_be_is_refused(url: str, book: Book) -> None:
    with pytest.raises(UsageError, match=r"not builtins\.int"):
        await double.opts(tx=5).submit(1)
    async with of_asyncpg(url) as connection:
        with pytest.raises(UsageError, match="use `send`"):
            await book.note.opts(tx=connection)("a")
        with pytest.raises(UsageError, match=r"without `\.sync`"):
            await asyncio.to_thread(double.opts(tx=connection).sync.submit, 1)
    with pytest.raises(BlockingCallOnLoop):
        double.sync.submit(1)


async def test_ids_are_spread_and_rise_with_those_of_the_runner(url: str, book: Book) -> None:
    """A backlog is read by id: an id far above or below those given out at the time would starve or jump the queue."""
    before = int((await double.submit(1)).id)
    async with of_asyncpg(url) as connection:
        jobs = [await double.opts(tx=connection).submit(number) for number in range(200)]
    ids = [int(job.id) for job in jobs]
    assert ids == sorted(set(ids)) and before < ids[0]
    assert len({number % 64 for number in ids}) > 32
    await jobs[-1].result(timeout=PATIENCE_S)


class Runner:
    """One of several runners of the same declarations, of which one type lives in a shard group of its own."""

    def __init__(self) -> None:
        self.app = App("fleet", settings=SETTINGS)

        @self.app.entity(shard_group="books")
        class Ledger(Entity[Notes]):
            @message(durable=True)
            async def note(self, line: str) -> int:
                self.state.lines.append(line)
                return len(self.state.lines)

        @self.app.job(shard_group="mail")
        async def post(number: int) -> int:
            return -number

        self.ledger = Ledger
        self.post = post


async def test_each_message_reaches_the_runner_that_owns_its_shard(url: str) -> None:
    one, other, sender = Runner(), Runner(), Runner()
    async with one.app.runner(store=url), other.app.runner(store=url):
        async with of_asyncpg(url) as connection:
            receipts = [
                await sender.app.ref(sender.ledger, f"l-{number}").note.opts(tx=connection).send("a")
                for number in range(20)
            ]
            jobs = [await sender.post.opts(tx=connection).submit(number) for number in range(20)]
        for receipt in receipts:
            assert await one.app.cluster.result(receipt, timeout=PATIENCE_S) == 1
        for number, job in enumerate(jobs):
            assert await other.app.jobs.wait(job.id, timeout=PATIENCE_S) == -number
