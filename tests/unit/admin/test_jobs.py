"""Which state a stored job is shown in, and lists that go on where they were cut."""

from __future__ import annotations

import pytest

from holdfast.admin import jobs, letters
from holdfast.admin.paging import PAGE
from holdfast.errors import JobNotFound, MessageNotFound
from holdfast.model.inbox import encode_entry
from holdfast.model.job import JobState
from holdfast.model.message import InboxRow
from holdfast.model.unit import Row
from holdfast.storage.memory.store import MemoryStore
from tests.conformance.conftest import ManualClock
from tests.conformance.conftest import commit as commit_units
from tests.conformance.rows import DEAD, END, JOB, REGISTRATION, start


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore(clock=ManualClock())
    await made.membership.register(REGISTRATION)
    return made


async def commit(store: MemoryStore, *rows: Row) -> None:
    """Each row in a unit of its own."""
    await commit_units(store, *((row,) for row in rows))


async def test_a_state_follows_from_what_is_stored(store: MemoryStore) -> None:
    later = ManualClock().now_us() + 5
    await commit(
        store,
        JOB._replace(id=1),
        JOB._replace(id=2, due_at=later),
        JOB._replace(id=3, due_at=later, attempt=1),
        JOB._replace(id=4, attempt=1),
        start(9, (4, 2), (1, 7)),
    )
    found = await jobs.jobs(store, "live", limit=9)
    states = [JobState.AVAILABLE, JobState.SCHEDULED, JobState.RETRYING, JobState.RUNNING]
    assert [one.state for one in found] == states
    assert [one.attempts for one in found] == [0, 0, 1, 2]
    assert (await jobs.job(store, 4)).executor is not None


async def test_a_list_longer_than_a_page_goes_on(store: MemoryStore) -> None:
    await commit(store, *(JOB._replace(id=number) for number in range(1, PAGE + 20)))
    found = await jobs.jobs(store, "live", limit=PAGE + 10, after=3)
    assert [one.id for one in found] == list(range(4, PAGE + 14))


async def test_what_waits_in_the_inbox_is_told_from_what_nobody_knows(store: MemoryStore) -> None:
    await commit(store, InboxRow(7, 3, *encode_entry(JOB._replace(id=7)), 0))
    found = await jobs.job(store, 7)
    assert (found.id, found.state, found.executor) == (7, JobState.AVAILABLE, None)
    with pytest.raises(JobNotFound, match="no job has the id 8"):
        await jobs.job(store, 8)


async def test_letters_of_both_kinds_stand_in_one_row(store: MemoryStore) -> None:
    dead = [JOB._replace(id=number) for number in (2, 5)]
    await commit(store, *dead, *(END._replace(id=row.id, expected=0, state="dead") for row in dead))
    await commit(store, DEAD._replace(id=3), DEAD._replace(id=6))
    assert [(one.id, one.kind) for one in await letters.letters(store, limit=3)] == [
        (2, "job"),
        (3, "message"),
        (5, "job"),
    ]
    assert [one.id for one in await letters.letters(store, limit=3, after=3)] == [5, 6]
    assert [one.id for one in await letters.letters(store, limit=3, kind="message")] == [3, 6]
    assert await letters.kind_of(store, 5) == "job"
    assert await letters.kind_of(store, 6) == "message"
    with pytest.raises(MessageNotFound):
        await letters.kind_of(store, 4)
