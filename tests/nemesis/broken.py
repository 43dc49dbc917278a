"""Runners that are broken on purpose: `python broken.py NAME CONFIG`. The checks of a run must find each of them.

Where another layer of defence would hide what is broken, it is switched off too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import msgspec

from holdfast.cluster.holdings import Holdings
from holdfast.cluster.lease import Lease
from holdfast.entities.admission import Admission, Admitted
from holdfast.entities.units import EntityUnit
from holdfast.jobs.attempt import Away
from holdfast.jobs.elsewhere import Elsewhere
from holdfast.model.cluster import RunnerState
from holdfast.model.job import JobRow, StartRecord
from holdfast.model.message import MessageRow, StateRow, Take
from holdfast.model.unit import Unit
from holdfast.ports.membership import LeaseLine
from holdfast.runtime.commits import MeteredJournal
from holdfast.storage.postgres.parts import Statements
from holdfast.storage.postgres.sessions import Sessions
from holdfast.verify.host import HostConfig, run

LATER_S = 0.05
FENCE = "SELECT 1 FROM holdfast_fence WHERE runner_id = $1 AND slot = $2"
LOCKED = f"{FENCE} FOR KEY SHARE"
MARK = "UPDATE holdfast_fence SET flushes = $3 WHERE runner_id = $1 AND slot = $2 AND EXISTS (SELECT FROM fence)"


def no_fence() -> None:
    """Writes prove nothing. Nor does the runner learn of its end, in any of the ways that would stop it."""
    _fence_with("SELECT 1 WHERE $1::bigint IS NOT NULL AND $2::bigint IS NOT NULL")
    Lease.lapsed = property(lambda self: False)  # type: ignore[method-assign, assignment]
    Lease.lost = property(lambda self: False, lambda self, lost: None)  # type: ignore[assignment]
    Lease._tell_lost = lambda self: None  # type: ignore[method-assign]
    Holdings.strayed = lambda self: []  # type: ignore[method-assign]


def fence_that_is_only_read() -> None:
    """A plain subquery: a reaper does not wait for who has read it."""
    _fence_with(FENCE)


def _fence_with(text: str) -> None:
    """The mark is another lock on the same row, and would do for a fence."""
    of = Statements.of

    def changed(self: Statements, parts: Sequence[object]) -> str:
        made = of(self, parts)  # type: ignore[arg-type]
        assert LOCKED in made and MARK in made, "the fence is written in another way now"
        return made.replace(LOCKED, text).replace(MARK, "SELECT 1 WHERE $3::bigint IS NULL")

    Statements.of = changed  # type: ignore[method-assign, assignment]


def acknowledge_before_commit() -> None:
    """Whoever waits is told at once, and the next message runs; the store hears of it a little later."""
    commit = MeteredJournal.commit

    def later(self: MeteredJournal, units: Sequence[Unit]) -> None:
        asyncio.get_running_loop().call_later(LATER_S, _start, commit(self, list(units)))

    MeteredJournal.commit = later  # type: ignore[method-assign]


def state_apart() -> None:
    """States are saved after the messages that changed them, in a transaction of their own."""
    commit = MeteredJournal.commit

    def apart(self: MeteredJournal, units: Sequence[Unit]) -> Awaitable[None] | None:
        states = _split(units, StateRow)
        if states.rows:
            asyncio.get_running_loop().call_later(LATER_S, lambda: _start(commit(self, [states])))
        return commit(self, units)

    MeteredJournal.commit = apart  # type: ignore[method-assign]


def mark_instead_of_delete() -> None:
    """What is taken from the inbox stays there."""
    commit = MeteredJournal.commit

    def marked(self: MeteredJournal, units: Sequence[Unit]) -> Awaitable[None] | None:
        _split(units, Take)
        return commit(self, units)

    MeteredJournal.commit = marked  # type: ignore[method-assign]


def next_before_known() -> None:
    """The next message of an entity runs while the commit of the one before it is under way."""
    taken = EntityUnit.taken

    def and_go_on(self: EntityUnit) -> None:
        taken(self)
        self._activation.flying = None

    EntityUnit.taken = and_go_on  # type: ignore[method-assign]


def no_key() -> None:
    """Idempotency keys are not looked at."""
    accept = Admission.accept

    def keyless(self: Admission, row: MessageRow, *args: Any, **more: Any) -> Awaitable[Admitted]:
        return accept(self, row._replace(key=None), *args, **more)

    Admission.accept = keyless  # type: ignore[method-assign, assignment]


def no_start_records() -> None:
    """Attempts start without the store knowing."""
    commit = MeteredJournal.commit

    def unrecorded(self: MeteredJournal, units: Sequence[Unit]) -> Awaitable[None] | None:
        _split(units, StartRecord)
        return commit(self, units)

    MeteredJournal.commit = unrecorded  # type: ignore[method-assign]


def rescue_by_id() -> None:
    """Whoever takes a shard starts the jobs in it, without asking where an attempt of theirs runs."""

    async def nothing_under_way(self: Elsewhere, shards: Collection[int]) -> list[tuple[JobRow, Away]]:
        return []

    Elsewhere.under_way = nothing_under_way  # type: ignore[method-assign]


def silent_in_drain() -> None:
    """The lease is not renewed any more once a drain has begun."""
    renew = Lease._renew

    async def unless_draining(self: Lease, line: LeaseLine) -> None:
        if self._state is not RunnerState.DRAINING:
            await renew(self, line)

    Lease._renew = unless_draining  # type: ignore[method-assign]


def guess_outcomes() -> None:
    """A write whose answer was lost is taken for one that did not commit."""

    async def guessed(self: Sessions, session: object) -> bool:
        return False

    Sessions.outcome = guessed  # type: ignore[method-assign, assignment]


def _split(units: Sequence[Unit], kind: type) -> Unit:
    """Takes the rows of a kind out of the units, into one of their own."""
    apart = Unit()
    for unit in units:
        for row in [row for row in unit.rows if type(row) is kind]:
            unit.rows.remove(row)
            apart.add(row)
    return apart


def _start(writing: Awaitable[None] | None) -> None:
    if writing is not None:
        task = asyncio.ensure_future(writing)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


BROKEN: dict[str, Callable[[], None]] = {
    "no-fence": no_fence,
    "fence-only-read": fence_that_is_only_read,
    "ack-before-commit": acknowledge_before_commit,
    "state-apart": state_apart,
    "mark-instead-of-delete": mark_instead_of_delete,
    "guess-outcomes": guess_outcomes,
    "next-before-known": next_before_known,
    "no-key": no_key,
    "no-start-records": no_start_records,
    "rescue-by-id": rescue_by_id,
    "silent-in-drain": silent_in_drain,
}

if __name__ == "__main__":
    BROKEN[sys.argv[1]]()
    run(msgspec.json.decode(sys.argv[2], type=HostConfig))
