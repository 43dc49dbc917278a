"""Runners that are broken on purpose: `python broken.py NAME CONFIG`. The checks of a run must find each of them.

Where another layer of defence would hide what is broken, it is switched off too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from holdfast.cluster.lease import Lease
from holdfast.model.message import StateRow, Take
from holdfast.model.unit import Unit
from holdfast.runtime.commits import MeteredJournal
from holdfast.storage.postgres.parts import Statements
from holdfast.storage.postgres.sessions import Sessions
from holdfast.verify.host import HostConfig, run
from holdfast.verify.parent import end_with_parent

LATER_S = 0.05
FENCE = "FROM holdfast_fence WHERE runner_id = $1 AND slot = $2 FOR KEY SHARE"
NO_FENCE = "WHERE $1::bigint IS NOT NULL AND $2::bigint IS NOT NULL"


def no_fence() -> None:
    """Writes prove nothing. Nor does the runner hear of its end, or that its lease has lapsed, which would stop it."""
    of = Statements.of

    def unfenced(self: Statements, parts: Sequence[object]) -> str:
        text = of(self, parts)  # type: ignore[arg-type]
        assert FENCE in text, "the fence is written in another way now"
        return text.replace(FENCE, NO_FENCE)

    Statements.of = unfenced  # type: ignore[method-assign, assignment]
    Lease.lapsed = property(lambda self: False)  # type: ignore[method-assign, assignment]
    Lease._tell_lost = lambda self: None  # type: ignore[method-assign]


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
    "ack-before-commit": acknowledge_before_commit,
    "state-apart": state_apart,
    "mark-instead-of-delete": mark_instead_of_delete,
    "guess-outcomes": guess_outcomes,
}

if __name__ == "__main__":
    end_with_parent()
    BROKEN[sys.argv[1]]()
    run(msgspec.json.decode(sys.argv[2], type=HostConfig))
