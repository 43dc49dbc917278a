"""What must be true at the end of a run, whatever befell it: what users heard and what is there goes in, and what
contradicts it comes out.

Pure. Each violation begins with the name of the promise that was broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from holdfast.errors import JobKeyConflict
from holdfast.jobs.door import CancelOutcome
from holdfast.model.job import TERMINAL, ArchivedJob, JobState
from holdfast.model.message import OutcomeKind
from holdfast.storage.memory.tables import Tables
from holdfast.verify.checks import out_of_order

from .audit import Audit
from .crowd import Heard, SubmittedJob
from .town import Book, Witness

DUPLICATE = "Duplicate"
CONFLICT = JobKeyConflict().reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finals:
    """What is there when everything has come to rest."""

    books: Mapping[str, Book]
    tubs: Mapping[str, Sequence[str]]
    rolls: Mapping[str, Sequence[str]]
    entries: Sequence[str]
    """Of the log: `name/job id`."""
    tables: Tables
    letters: Sequence[int]
    """Dead messages, before they were replayed."""
    replayed: Mapping[int, int]
    """Dead job -> the job that took its place."""
    dead_left: int


def violations(heard: Heard, witness: Witness, finals: Finals, audit: Audit, *, orderly: bool) -> list[str]:
    """`orderly`: nothing happened that may cost a runner its lease, or the store an answer."""
    jobs = _Jobs(heard, witness, finals)
    return [
        *_accepted(heard, finals),
        *_deposits(heard, finals),
        *_transfers(heard, finals),
        *_touches(heard, finals),
        *(f"stale read: {look}" for look in heard.stale),
        *_timers(heard, finals),
        *_poison(heard, finals),
        *_floods(heard, finals),
        *_bursts(heard, finals),
        *jobs.all(),
        *(_drained(witness, audit) if orderly else ()),
        *(f"twice: message {one} was consumed {times} times" for one, times in audit.consumed.items() if times > 1),
    ]


def _accepted(heard: Heard, finals: Finals) -> Iterator[str]:
    for number in sorted(heard.messages - finals.tables.done.rows.keys()):
        yield f"lost: message {number} was accepted and has no outcome"
    for number in sorted(heard.jobs.keys() - finals.tables.archive.rows.keys()):
        yield f"lost: job {number} was accepted and is not in the archive"


def _deposits(heard: Heard, finals: Finals) -> Iterator[str]:
    for told in (heard.deposits, heard.tells):
        for (account, sender), numbers in sorted(told.items()):
            there = finals.books[account].deposits.get(sender, [])
            if there != numbers:
                yield f"{_kind(there, numbers)}: {sender} sent {numbers} to {account}, which has {there}"
    total = sum(book.balance for book in finals.books.values())
    if total != heard.deposited:
        yield f"conservation: {heard.deposited} were paid in, and there are {total}"
    for name, book in finals.books.items():
        if book.balance < 0:
            yield f"conservation: {name} has {book.balance}"


def _kind(there: Sequence[int], sent: Sequence[int]) -> str:
    if Counter(there) == Counter(sent):
        return "order"
    return "twice" if Counter(there) - Counter(sent) else "lost"


def _transfers(heard: Heard, finals: Finals) -> Iterator[str]:
    there = Counter(transfer for book in finals.books.values() for transfer in book.transfers)
    audited = Counter(entry.partition("/")[0] for entry in finals.entries)
    for transfer in sorted(heard.paid):
        if there[transfer] != 2:  # once where it left, once where it came in
            yield f"all or nothing: transfer {transfer} was paid and is there {there[transfer]} times, not 2"
        if audited[transfer] != 1:
            yield f"all or nothing: transfer {transfer} was paid and its job was done {audited[transfer]} times"
    for transfer in sorted(heard.refused):
        if there[transfer] or audited[transfer]:
            yield f"all or nothing: transfer {transfer} was refused and left a trace"


def _touches(heard: Heard, finals: Finals) -> Iterator[str]:
    there = Counter(name for book in finals.books.values() for name in book.touches)
    sure = {name for names in heard.touches.values() for name in names}
    for name in sorted(sure | heard.maybe_touched | there.keys()):
        least, most = int(name in sure), int(name in sure or name in heard.maybe_touched)
        if not least <= there[name] <= most:
            yield f"volatile: {name} happened {there[name]} times, not {least} to {most}"


def _timers(heard: Heard, finals: Finals) -> Iterator[str]:
    for (account, timer), story in sorted(heard.timers.items()):
        fired = Counter(finals.books[account].timers)
        for place, (what, name) in enumerate(story):
            if what != "set":
                continue
            then = story[place + 1][0] if place + 1 < len(story) else "end"
            least, most = {"gone": (0, 0), "none": (1, 1), "end": (1, 1)}.get(then, (0, 1))
            if not least <= fired[name] <= most:
                yield f"timer: {name} of {timer} fired {fired[name]} times, not {least} to {most} (then: {then})"


def _poison(heard: Heard, finals: Finals) -> Iterator[str]:
    cures = Counter(name for book in finals.books.values() for name in book.cures)
    for name in sorted(heard.poison):
        if cures[name] != 1:
            yield f"dead letters: {name} died, was replayed, and was handled {cures[name]} times"
    for number in finals.letters:
        row = finals.tables.done.rows.get(number)
        if row is None or row.kind != OutcomeKind.DEAD:
            yield f"dead letters: message {number} is a letter, and its outcome is {row and row.kind}"
    if finals.dead_left:
        yield f"dead letters: {finals.dead_left} are left after all were replayed"


def _floods(heard: Heard, finals: Finals) -> Iterator[str]:
    for basin, drops in finals.tubs.items():
        there = Counter(drops)
        for name in sorted(heard.poured.get(basin, set())):
            if there[name] != 1:
                yield f"overload: {name} was taken and is there {there[name]} times"
        for name in sorted(heard.spilt.get(basin, set()) & there.keys()):
            yield f"overload: {name} was refused and is there"


def _bursts(heard: Heard, finals: Finals) -> Iterator[str]:
    places = {roll: {line: place for place, line in enumerate(lines)} for roll, lines in finals.rolls.items()}
    for roll, lines in finals.rolls.items():
        yield from (f"twice: {roll} has {line} {times} times" for line, times in Counter(lines).items() if times > 1)
    for (roll, sender), sent in sorted(heard.bursts.items()):
        yield from (f"lost: {roll} has no {line}" for line in sorted(sent.sure - places[roll].keys()))
        for line, later in out_of_order(sent.lines, sent.at_once, places[roll]):
            yield f"order: {sender} sent {line} to {roll} after {later}, which came later"


def _drained(witness: Witness, audit: Audit) -> Iterator[str]:
    """Runners came and went in order, so no lease was lost, and what was started was not started again."""
    for runner in audit.reaped:
        yield f"drain: runner {runner} was reaped, and nothing had happened to it"
    for (job, number), times in Counter((job, number) for job, number, _ in witness.started).items():
        if times > 1 + audit.given_back.get(job, 0):
            yield f"drain: attempt {number} of job {job} was started {times} times"


class _Jobs:
    """Of jobs, where one thing explains another."""

    def __init__(self, heard: Heard, witness: Witness, finals: Finals) -> None:
        self._heard = heard
        self._witness = witness
        self._finals = finals
        self._archive = finals.tables.archive.rows
        self._entries = Counter(finals.entries)

    def all(self) -> Iterator[str]:
        for number, row in sorted(self._archive.items()):
            yield from self._ended(number, row)
        for _, job in sorted(self._heard.jobs.items()):
            yield from self._expected(job)
        for key, led_to in sorted(self._heard.shared.items()):
            yield from self._one_per_key(key, led_to)
        for (sender, group), numbers in sorted(self._heard.grouped.items()):
            yield from self._in_order(sender, group, numbers)
        for number, name in sorted(self._heard.bad_jobs.items()):
            yield from self._cured(number, name)

    def _ended(self, number: int, row: ArchivedJob) -> Iterator[str]:
        if row.state not in TERMINAL:
            yield f"illegal transition: job {number} is in the archive as {row.state}"
        done = sum(times for entry, times in self._entries.items() if entry.endswith(f"/{number}"))
        if done != (row.state == JobState.COMPLETED):
            yield f"all or nothing: job {number} ({row.job_type}) is {row.state}, and its effect is there {done} times"

    def _expected(self, job: SubmittedJob) -> Iterator[str]:
        row = self._archive.get(job.number)
        if row is None:
            return  # told as lost
        outcomes = [outcome for outcome, _ in job.cancels]
        if CancelOutcome.BEFORE_START in outcomes or CancelOutcome.INTERRUPTED in outcomes:
            if row.state != JobState.CANCELLED:
                yield f"cancel: job {job.number} was said to be cancelled ({outcomes}) and is {row.state}"
        elif row.state == JobState.CANCELLED and not (job.maybe_cancelled or row.reason == DUPLICATE):
            yield f"cancel: nobody was told that job {job.number} was cancelled ({outcomes}), and it is"
        if row.state == JobState.DEAD and row.reason != CONFLICT:
            yield f"unexpected: job {job.number} is dead: {row.error}"
        for outcome, seen in job.cancels:
            later = [start for start in self._witness.started[seen:] if start[0] == job.number]
            if outcome is CancelOutcome.BEFORE_START and later:
                yield f"cancel: job {job.number} was cancelled before it started, and started later"

    def _one_per_key(self, key: str, led_to: set[tuple[int, str]]) -> Iterator[str]:
        real = {self._real(number) for number, _ in led_to} - {None}
        if len(real) > 1:
            yield f"same key: {key} led to the jobs {sorted(number for number in real if number)}"

    def _real(self, number: int) -> int | None:
        row = self._archive.get(number)
        if row is None or row.reason == CONFLICT:
            return None
        return int(row.error or 0) if row.reason == DUPLICATE else number

    def _in_order(self, sender: int, group: str, numbers: Sequence[int]) -> Iterator[str]:
        submitted = [self._real(number) for number in numbers]
        started = list(dict.fromkeys(number for number, _, _ in self._witness.started if number in submitted))
        if started != submitted:
            yield f"order: sender {sender} submitted {submitted} to group {group}, and they started {started}"

    def _cured(self, number: int, name: str) -> Iterator[str]:
        row = self._archive.get(number)
        if row is None or row.reason == DUPLICATE:
            return
        successor = self._archive.get(self._finals.replayed.get(number, 0))
        if row.state != JobState.DEAD or row.replayed_at is None:
            yield f"dead letters: job {number} ({name}) is {row.state}, replayed at {row.replayed_at}"
        elif successor is None or successor.replay_of != number or successor.state != JobState.COMPLETED:
            yield f"dead letters: job {number} ({name}) was replayed, and that came of it: {successor}"
