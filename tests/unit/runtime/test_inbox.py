"""Taking the inbox, beside engines that the test plays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.entities.engine import EntityEngine
from holdfast.entities.inbound import Stays
from holdfast.entities.leftovers import Leftovers
from holdfast.errors import EntityNotAssignedToRunner, JobNotFound, PersistenceError, RunnerUnavailable
from holdfast.jobs.engine import JobEngine
from holdfast.model.envelope import Call
from holdfast.model.inbox import Command, encode_entry
from holdfast.model.job import JobRow
from holdfast.model.message import InboxRow, MessageRow, Take
from holdfast.ports.store import RunnerStore
from holdfast.runtime import inbox
from holdfast.runtime.inbox import InboxTaking
from holdfast.runtime.remote.rows import message_row

SHARD = 3


class Played:
    """A store with an inbox, and engines that take from it as the test says."""

    def __init__(self, *left: tuple[int, str]) -> None:
        self.rows = {number: self._row(number, entity_id) for number, entity_id in left}
        self.begun: list[int] = []
        self.failing: set[int] = set()
        self.undecided: set[int] = set()
        self.not_here: set[int] = set()
        self.repeated: set[int] = set()
        self.again: Callable[[], None] = lambda: None
        self.meanwhile: Callable[[], None] = lambda: None
        self.served = True
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        engines: Any = SimpleNamespace(inbound=self, leftovers=Leftovers())
        store: Any = SimpleNamespace(inbox_reader=self, inbox_changed=self.changed)
        self.taking = InboxTaking(
            store=cast(RunnerStore, store),
            territory=self,
            entities=cast(EntityEngine, engines),
            jobs=cast(JobEngine, self),
        )
        self.taking.adopt([SHARD])

    def _row(self, number: int, entity_id: str) -> InboxRow:
        call = Call(0, "Cart", entity_id, "note", b"", 0, message_id=number)
        kind, body = encode_entry(message_row(call, SHARD, 0))
        return InboxRow(number, SHARD, kind, body, 0)

    def leave_job(self, number: int, group: str) -> None:
        row = JobRow(number, SHARD, "report", 2, b"", b"", None, group, 3, 0, 0, 0, 0, 0, None, 0, 0, None, None)
        kind, body = encode_entry(row)
        self.rows[number] = InboxRow(number, SHARD, kind, body, 0)

    def serves(self, shard: int) -> bool:
        return self.served

    async def changed(self) -> bool:
        return False

    async def take(self, row: JobRow, taken: Take) -> None:
        await asyncio.sleep(0)
        self.begun.append(row.id)
        if row.id in self.failing:
            raise PersistenceError("the server went away")
        del self.rows[row.id]

    async def inbox(self, *, limit: int, shards: Collection[int] | None = None) -> Sequence[InboxRow]:
        return list(self.rows.values())[:limit]

    async def adopt(self, row: MessageRow, taken: Take, again: Callable[[], None]) -> Stays | None:
        await asyncio.sleep(0)
        if row.id in self.undecided | self.repeated:
            self.again = again
            return Stays.UNDECIDED if row.id in self.undecided else Stays.KEY_IN_USE
        self.begun.append(row.id)
        if row.id in self.not_here:
            raise EntityNotAssignedToRunner("the shard has just left, and is back")
        await self.may_commit.wait()
        self.meanwhile()
        if row.id in self.failing:
            raise PersistenceError("the server went away")
        del self.rows[row.id]
        return None


async def test_what_was_left_behind_a_message_that_could_not_be_written_stays_behind_it() -> None:
    """A later flush may well succeed, and would bring it in first."""
    played = Played((1, "a"), (2, "a"), (3, "b"), (4, "a"))
    played.failing = {2}
    with pytest.raises(PersistenceError):
        await played.taking.taken(10)
    assert sorted(played.rows) == [2, 4], "another entity's message has nothing to do with it"
    played.failing.clear()
    await played.taking.taken(10)
    assert [number for number in played.begun if number != 3] == [1, 2, 2, 4]


async def test_what_was_left_behind_a_message_that_is_another_owners_stays_behind_it() -> None:
    """The shard may have left and come back between the two."""
    played = Played((1, "a"), (2, "a"), (3, "b"))
    played.not_here = {1}
    await played.taking.taken(3)
    assert sorted(played.rows) == [1, 2], "another entity's message has nothing to do with it"
    played.not_here.clear()
    await played.taking.taken(3)
    assert [number for number in played.begun if number != 3] == [1, 1, 2]


async def test_a_line_waits_behind_a_message_whose_direct_try_is_not_decided() -> None:
    """Should that fail, it has its place here: whatever was left or sent after it must not be handled first."""
    played = Played((1, "a"), (2, "a"), (3, "b"))
    played.undecided = {1}
    for _ in range(2):
        with pytest.raises(RunnerUnavailable):
            await played.taking.taken(3, [SHARD])
        assert sorted(played.rows) == [1, 2], "another entity's message has nothing to do with it"
    played.undecided.clear()
    played.again()
    await played.taking.taken(3, [SHARD])
    assert played.begun == [3, 1, 2]


async def test_nobody_waits_behind_a_message_whose_key_is_in_use() -> None:
    """It gets the outcome of another message, which may be due in a year."""
    played = Played((1, "a"), (2, "a"))
    played.repeated = {1}
    await played.taking.taken(2, [SHARD])
    assert sorted(played.rows) == [1]


async def test_a_shard_that_leaves_while_its_inbox_is_read_is_not_said_to_be_taken() -> None:
    """What was left for it may still be there, for the next owner."""
    played = Played((1, "a"))
    played.meanwhile = lambda: played.taking._shards.clear()
    with pytest.raises(EntityNotAssignedToRunner):
        await played.taking.taken(10, [SHARD])


async def test_what_is_being_taken_goes_on_without_its_asker_and_the_next_one_waits_for_it() -> None:
    """Its row may be out of the inbox before its commit is known here."""
    played = Played((1, "anna"))
    played.may_commit.clear()
    asking = asyncio.ensure_future(played.taking.taken(1))
    for _ in range(8):
        await asyncio.sleep(0)
    assert played.begun == [1] and played.rows
    asking.cancel()
    asking_again = asyncio.ensure_future(played.taking.taken(1))
    for _ in range(8):
        await asyncio.sleep(0)
    assert not asking_again.done()
    played.may_commit.set()
    await asking_again
    assert played.begun == [1]
    assert not played.rows
    await played.taking.stop()


async def test_what_was_left_for_a_shard_is_taken_as_soon_as_it_is_served() -> None:
    """Though nothing new is left there, which would be a reason to look."""
    played = Played((1, "a"))
    played.served = False
    await played.taking._look()
    assert played.rows
    played.served = True
    await played.taking._look()
    assert not played.rows


async def test_jobs_of_a_group_behind_one_that_could_not_be_written_stay_behind_it() -> None:
    played = Played()
    for number, group in ((1, "a"), (2, "a"), (3, "b")):
        played.leave_job(number, group)
    played.failing = {1}
    with pytest.raises(PersistenceError):
        await played.taking.taken(10)
    assert sorted(played.rows) == [1, 2]
    played.failing.clear()
    await played.taking.taken(10)
    assert [number for number in played.begun if number != 3] == [1, 1, 2]


class Asked(Played):
    """With one request in the inbox, which the engine refuses as often as the test says."""

    def __init__(self, verb: str, *refusals: Exception) -> None:
        super().__init__()
        self.refusals = list(refusals)
        self.cancelled: list[str] = []
        self.taking._jobs = cast(JobEngine, SimpleNamespace(cancel=self.cancel))
        kind, body = encode_entry(Command(verb, 7))
        self.rows[1] = InboxRow(1, SHARD, kind, body, 0)

    async def cancel(self, job: str) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self.cancelled.append(job)

    async def take_away(self, taken: Take) -> None:
        del self.rows[taken.id]

    async def obeyed(self) -> None:
        """Looks into the inbox until there is nothing left, or nothing more is done."""
        for _ in range(10):
            await self.taking.taken(10)
            while self.taking._commands._tasks:
                await asyncio.wait(self.taking._commands._tasks)
        await self.taking.stop()


async def test_a_request_that_nobody_could_carry_out_is_carried_out_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "AGAIN_S", 0.0)
    asked = Asked("cancel", PersistenceError("away"), RunnerUnavailable("nobody"), EntityNotAssignedToRunner("moved"))
    await asked.obeyed()
    assert (asked.cancelled, asked.rows) == (["7"], {})


async def test_a_replay_is_carried_out_under_the_number_that_was_told_or_by_nobody_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another runner, asked to replay it, would choose a number of its own."""
    monkeypatch.setattr(inbox, "AGAIN_S", 0.0)
    asked = Asked("replay")
    kind, body = encode_entry(Command("replay", 7, number=9))
    asked.rows[1] = InboxRow(1, SHARD, kind, body, 0)
    refusals: list[Exception] = [EntityNotAssignedToRunner("moved, and back in a moment")]
    replayed: list[tuple[str, int]] = []

    async def here(job: str, number: int) -> None:
        if refusals:
            raise refusals.pop()
        replayed.append((job, number))

    asked.taking._jobs = cast(JobEngine, SimpleNamespace(here=SimpleNamespace(replay=here)))
    await asked.obeyed()
    assert (replayed, asked.rows) == ([("7", 9)], {})


async def test_a_request_that_makes_no_sense_any_more_is_taken_away() -> None:
    asked = Asked("cancel", JobNotFound("no job has the id 7"))
    await asked.obeyed()
    assert (asked.cancelled, asked.rows) == ([], {})


async def test_a_request_of_a_newer_version_stays_for_one_that_knows_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    asked = Asked("paint")
    await asked.obeyed()
    assert (asked.cancelled, list(asked.rows)) == ([], [1])
