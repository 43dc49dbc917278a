"""Bursts of one entity commit as one unit; a unit that fails is run again one by one, on what the store holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from holdfast import App, Entity, JobId, Module, message, testing
from holdfast.errors import PersistenceError
from holdfast.model.message import DoneRow, MessageRow, StateRow
from holdfast.model.unit import Unit

shop = Module()


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)


@shop.job
async def print_line(line: str) -> str:
    return line


@shop.entity
class Book(Entity[Log]):
    def __init__(self) -> None:
        self.runs = 0

    @message
    async def write(self, line: str) -> int:
        self.runs += 1
        self.state.lines.append(line)
        return len(self.state.lines)

    @message
    async def write_all(self, lines: list[str]) -> int:
        self.state.lines += lines
        return len(self.state.lines)

    @message(durable=True)
    async def note(self, line: str) -> int:
        self.state.lines.append(line)
        return len(self.state.lines)

    @message(durable=True)
    async def note_slowly(self, line: str, seconds: float = 1.0) -> int:
        await asyncio.sleep(seconds)
        self.state.lines.append(line)
        return len(self.state.lines)

    @message
    async def order(self, line: str) -> str:
        self.state.lines.append(line)
        return (await self.submit(print_line.opts(key=line), line)).id

    @message(readonly=True)
    async def show(self) -> list[str]:
        return self.state.lines

    @message(readonly=True)
    async def counted(self) -> int:
        return self.runs


class Disk:
    """Says of each commit whether it fails, and remembers those that did not."""

    def __init__(self) -> None:
        self.commits: list[list[Unit]] = []
        self.refuses: Callable[[Sequence[Unit]], bool] = lambda _: False
        self.loses_answer: Callable[[Sequence[Unit]], bool] = lambda _: False
        self.faults = testing.StorageFaults(before_commit=self._before, after_commit=self._after)

    def _before(self, units: Sequence[Unit]) -> None:
        if self.refuses(units):
            raise PersistenceError("the disk refuses")
        self.commits.append(list(units))

    def _after(self, units: Sequence[Unit]) -> None:
        if self.loses_answer(units):
            raise PersistenceError("nobody knows", executed="unknown")


@asynccontextmanager
async def running(disk: Disk) -> AsyncGenerator[tuple[App, testing.LiveRunner]]:
    app = App("shop", modules=[shop])
    async with testing.runner(app, faults=disk.faults) as t:
        yield app, t


def has(units: Sequence[Unit], kind: type) -> bool:
    return any(isinstance(row, kind) for unit in units for row in unit.rows)


def once(condition: Callable[[Sequence[Unit]], bool]) -> Callable[[Sequence[Unit]], bool]:
    """The first time only."""
    left = [True]

    def check(units: Sequence[Unit]) -> bool:
        if left[0] and condition(units):
            left[0] = False
            return True
        return False

    return check


async def test_a_burst_of_one_entity_commits_as_one_unit() -> None:
    disk = Disk()
    async with running(disk) as (app, _):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.commits.clear()
        assert await asyncio.gather(*(book.write(str(number)) for number in range(20))) == list(range(2, 22))
        states = [row for units in disk.commits for unit in units for row in unit.rows if isinstance(row, StateRow)]
        assert len(states) <= 2


async def test_what_waits_behind_a_slow_message_is_stored_also_where_a_commit_before_it_failed() -> None:
    """Else what comes later is stored first, and the next owner would handle it first."""
    disk = Disk()
    disk.faults.latency_s = lambda: 0.1
    async with running(disk) as (app, _):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.refuses = once(lambda units: has(units, StateRow))
        unit = [asyncio.ensure_future(book.note(line)) for line in ("a", "b")]
        await asyncio.sleep(0.05)
        slow = asyncio.ensure_future(book.note_slowly("c", 5.0))
        await asyncio.sleep(0)
        await asyncio.wait_for(book.note.send("d"), 2)
        assert not slow.done()
        assert await asyncio.gather(*unit, slow) == [2, 3, 4]
        assert await book.note("e") == 6


async def test_a_unit_that_fails_is_run_again_one_by_one() -> None:
    """On the state that the store holds; nobody notices."""
    disk = Disk()
    async with running(disk) as (app, _):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.refuses = once(lambda units: has(units, StateRow))
        replies = await asyncio.gather(*(book.write(str(number)) for number in range(5)), return_exceptions=True)
        assert replies == [2, 3, 4, 5, 6]
        assert await book.show() == ["first", *map(str, range(5))]


async def test_a_job_with_a_key_is_submitted_by_the_run_that_commits() -> None:
    """The run before it had submitted the same job, in a commit that failed: of that one nothing is left."""
    disk = Disk()
    async with running(disk) as (app, t):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.refuses = once(lambda units: has(units, StateRow))
        for job in await asyncio.gather(*(book.order(str(number)) for number in range(3))):
            await t.settle()
            assert (await app.jobs.status(JobId(job))).state == "completed"


async def test_only_the_guilty_message_of_a_unit_fails() -> None:
    disk = Disk()
    async with running(disk) as (app, t):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.refuses = lambda units: any(
            isinstance(row, StateRow) and b"guilty" in row.state for unit in units for row in unit.rows
        )
        lines = ["a", "b", "guilty", "c"]
        replies = await asyncio.gather(*(book.write(line) for line in lines), return_exceptions=True)
        assert [isinstance(reply, PersistenceError) for reply in replies] == [False, False, True, False]
        assert await book.show() == ["first", "a", "b", "c"]
        await t.restart()
        assert await book.show() == ["first", "a", "b", "c"]


async def test_a_message_whose_arguments_can_change_is_not_run_again() -> None:
    """Its caller hears that nothing of it was written; those beside it are run again."""
    disk = Disk()
    async with running(disk) as (app, _):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.refuses = once(lambda units: has(units, StateRow))
        replies = await asyncio.gather(book.write("a"), book.write_all(["b"]), book.write("c"), return_exceptions=True)
        assert (replies[0], type(replies[1]), replies[2]) == (2, PersistenceError, 3)
        assert await book.show() == ["first", "a", "c"]


async def test_an_instance_whose_commit_failed_is_loaded_anew() -> None:
    disk = Disk()
    async with running(disk) as (app, _):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.refuses = once(lambda units: has(units, StateRow))
        with pytest.raises(PersistenceError) as caught:
            await book.write("lost")
        assert caught.value.executed == "no"
        assert await book.show() == ["first"]
        assert await book.counted() == 0


async def test_a_durable_message_that_could_not_be_stored_was_not_accepted() -> None:
    disk = Disk()
    async with running(disk) as (app, t):
        disk.refuses = lambda units: has(units, DoneRow) or has(units, MessageRow)
        with pytest.raises(PersistenceError):
            await app.ref(Book, "b").note.send("a")
        with pytest.raises(PersistenceError):
            await app.ref(Book, "b").note_slowly("a")
        disk.refuses = lambda _: False
        await t.settle()
        assert await app.ref(Book, "b").show() == []


async def test_a_stored_message_whose_outcome_could_not_be_written_is_tried_again() -> None:
    disk = Disk()
    async with running(disk) as (app, t):
        disk.refuses = once(lambda units: has(units, DoneRow))
        receipt = await app.ref(Book, "b").note_slowly.send("a")
        await t.clock.advance(30)
        assert await app.cluster.result(receipt) == 1
        assert await app.ref(Book, "b").show() == ["a"]


async def test_what_was_written_although_nobody_said_so_is_not_done_twice() -> None:
    disk = Disk()
    async with running(disk) as (app, t):
        book = app.ref(Book, "b")
        disk.loses_answer = once(lambda units: has(units, DoneRow))
        receipt = await book.note_slowly.send("a")
        await t.clock.advance(30)
        assert await app.cluster.result(receipt) == 1
        disk.loses_answer = once(lambda units: has(units, StateRow))
        with pytest.raises(PersistenceError) as caught:
            await book.write("b")
        assert caught.value.executed == "unknown"
        assert await book.show() == ["a", "b"]


async def test_a_burst_of_unknown_outcome_is_not_run_again() -> None:
    disk = Disk()
    async with running(disk) as (app, _t):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.loses_answer = once(lambda units: has(units, StateRow))
        replies = await asyncio.gather(*(book.write(str(number)) for number in range(5)), return_exceptions=True)
        assert all(isinstance(reply, PersistenceError) and reply.executed == "unknown" for reply in replies)
        assert await book.show() == ["first", *map(str, range(5))]


async def test_keyed_messages_of_unknown_outcome_are_safe_to_repeat() -> None:
    disk = Disk()
    async with running(disk) as (app, _t):
        book = app.ref(Book, "b")
        disk.loses_answer = once(lambda units: has(units, DoneRow))
        calls = [book.note.opts(key=str(number))(str(number)) for number in range(5)]
        replies = await asyncio.gather(*calls, return_exceptions=True)
        again = [
            await book.note.opts(key=str(number))(str(number)) if isinstance(reply, PersistenceError) else reply
            for number, reply in enumerate(replies)
        ]
        assert again == [1, 2, 3, 4, 5]
        assert await book.show() == [str(number) for number in range(5)]


async def test_one_message_at_a_time_even_when_a_commit_fails_under_a_running_handler() -> None:
    disk = Disk()
    async with running(disk) as (app, t):
        book = app.ref(Book, "b")
        await book.write("first")
        disk.refuses = once(lambda units: has(units, StateRow))
        outcomes = await asyncio.gather(
            book.write("a"),
            book.note_slowly.opts(key="k")("b"),
            book.write("c"),
            book.note_slowly.opts(key="l")("d"),
            return_exceptions=True,
        )
        await t.settle()
        lines = await book.show()
        assert len(lines) == len(set(lines))
        for line, outcome in zip("abcd", outcomes, strict=True):
            assert (line in lines) == (not isinstance(outcome, BaseException))


@pytest.mark.parametrize("seconds", [0.1, 0.3, 30.0])
async def test_a_message_that_ran_in_vain_comes_after_the_earlier_one_whose_commit_failed(seconds: float) -> None:
    """Wherever that one waits when the later ends: for the store, for its next try, or in the mailbox already."""
    disk = Disk()
    async with running(disk) as (app, t):
        book = app.ref(Book, "b")
        disk.refuses = once(lambda units: has(units, DoneRow))
        receipts = [
            await book.note_slowly.send("earlier"),
            await book.note_slowly.send("later", seconds),
            await book.note.send("last"),
        ]
        await t.clock.advance(100)
        assert [await app.cluster.result(receipt) for receipt in receipts] == [1, 2, 3]
        assert await book.show() == ["earlier", "later", "last"]
