"""A suspect runs once the store knows that it does, and until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.entities.durable import DurableTurn
from holdfast.entities.suspects import Suspects
from holdfast.errors import PersistenceError
from holdfast.kit.tasks import TaskOwner
from holdfast.model.job import EndStart, StartRecord, unpack_attempts
from holdfast.model.unit import Row


class Desk:
    """Suspects with a store whose every answer is given by the test."""

    def __init__(self, tasks: TaskOwner) -> None:
        self.wanted: asyncio.Queue[tuple[Row, asyncio.Future[None]]] = asyncio.Queue()
        self.unasked: list[Row] = []
        self.began: asyncio.Queue[Any] = asyncio.Queue()
        self.numbers = iter(range(100, 200))
        around = SimpleNamespace(
            runner_id=7, ids=SimpleNamespace(take=self.number), clock=SimpleNamespace(now_us=lambda: 5)
        )
        committer = SimpleNamespace(written=self.written, write=lambda line, rows, *_: self.unasked.extend(rows))
        self.suspects = Suspects(
            cast(Any, around),
            committer=cast(Any, committer),
            tasks=tasks,
            start=self.began.put_nowait,
            hold_back=lambda turn: None,
        )

    async def number(self) -> int:
        return next(self.numbers)

    async def written(self, line: int, rows: list[Row]) -> None:
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wanted.put_nowait((rows[0], known))
        await known

    def enter(self, number: int) -> DurableTurn:
        turn = cast(DurableTurn, SimpleNamespace(row=SimpleNamespace(id=number, crashes=1), abandoned=False))
        self.suspects.enter(turn)
        return turn


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    tasks = TaskOwner("suspects")
    yield Desk(tasks)
    await tasks.stop()


async def test_a_suspect_waits_for_its_start_record(desk: Desk) -> None:
    turn = desk.enter(1)
    record, known = await desk.wanted.get()
    assert isinstance(record, StartRecord) and record.executor == 7 and unpack_attempts(record.attempts) == [(1, 1)]
    assert desk.began.empty()
    known.set_result(None)
    assert await desk.began.get() is turn


async def test_its_record_goes_when_it_has_ended_and_the_next_one_comes(desk: Desk) -> None:
    first, _ = desk.enter(1), desk.enter(2)
    (await desk.wanted.get())[1].set_result(None)
    await desk.began.get()
    assert desk.began.empty() and desk.wanted.empty()
    desk.suspects.ended(first)
    assert desk.unasked == [EndStart(100)]
    record, _ = await desk.wanted.get()
    assert isinstance(record, StartRecord) and unpack_attempts(record.attempts) == [(2, 1)]


async def test_a_suspect_that_is_forgotten_meanwhile_does_not_start(desk: Desk) -> None:
    """And its record does not stay."""
    first, second = desk.enter(1), desk.enter(2)
    _, known = await desk.wanted.get()
    desk.suspects.ended(first)
    (await desk.wanted.get())[1].set_result(None)
    known.set_result(None)
    assert await desk.began.get() is second
    assert desk.unasked == [EndStart(100)]


async def test_a_record_that_could_not_be_written_is_written_again(desk: Desk) -> None:
    turn = desk.enter(1)
    (await desk.wanted.get())[1].set_exception(PersistenceError("the store is away"))
    record, known = await desk.wanted.get()
    assert isinstance(record, StartRecord) and record.id == 101 and desk.began.empty()
    known.set_result(None)
    assert await desk.began.get() is turn
