"""What must be true of a run, however many faults it had: events and what the store holds at the end go in, violations
come out. Pure.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from holdfast.model.job import MOVES, JobState

from .history import Event
from .linearizability import Operation, Verdict, verdict
from .subject import OPENING_BALANCE, Books

CHECKED = (
    "lost acknowledgement",
    "duplicate effect",
    "stale commit",
    "order",
    "illegal transition",
    "conservation",
    "linearizability",
    "cancel",
    "unfinished",
    "process",
)
"""Everything that a run can violate, by the name it is reported under."""


class Violation(NamedTuple):
    kind: str
    what: str


class JobEnd(NamedTuple):
    """A finished job, as the store has it."""

    job: str
    job_type: str
    state: str
    replay_of: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finals:
    """What the store and its entities hold once everything has come to rest."""

    counters: Mapping[str, int] = field(default_factory=dict[str, int])
    rolls: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    books: Mapping[str, Books] = field(default_factory=dict[str, Books])
    notes: Sequence[str] = ()
    """The operations of the rows that jobs have written."""
    jobs: Mapping[str, JobEnd] = field(default_factory=dict[str, JobEnd])
    stale: Sequence[str] = ()
    """Commits that were not their shard's owner's, as the store itself saw them."""
    unfinished: Sequence[str] = ()


class Checked(NamedTuple):
    violations: list[Violation]
    undecided: int
    """Registers whose history was too much for the search."""
    registers: int


def check(events: Sequence[Event], finals: Finals) -> Checked:
    by_workload: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_workload[event.workload].append(event)
    registers = Counter(verdict for _, verdict in registers_of(by_workload["register"]))
    violations = [
        *_counters(by_workload["counter"], finals.counters),
        *_rolls(by_workload["roll"], finals.rolls),
        *_bank(by_workload["bank"], finals.books),
        *_registers(by_workload["register"]),
        *_jobs(by_workload["jobs"], finals),
        *_cancels(by_workload["cancel"], finals),
        *_poison(by_workload["poison"], finals),
        *_replays(finals),
        *(Violation("stale commit", what) for what in finals.stale),
        *(Violation("unfinished", what) for what in finals.unfinished),
    ]
    return Checked(violations, registers[Verdict.UNDECIDED], registers.total())


def _by_key(events: Iterable[Event]) -> dict[str, list[Event]]:
    grouped: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        grouped[event.key].append(event)
    return grouped


def _counters(events: Sequence[Event], finals: Mapping[str, int]) -> Iterator[Violation]:
    """Fetch-and-add: no value twice, none before one that was returned earlier, none missing at the end."""
    for key, adds in _by_key(events).items():
        known = [add for add in adds if add.outcome == "ok"]
        unknown = sum(add.outcome == "unknown" for add in adds)
        for value, count in Counter(add.value for add in known).items():
            if count > 1:
                yield Violation("duplicate effect", f"{key}: {count} calls got {value}")
        yield from _in_time(key, known)
        final = finals.get(key, 0)
        if final < len(known):
            yield Violation("lost acknowledgement", f"{key} is {final} after {len(known)} acknowledged additions")
        if final > len(known) + unknown:
            yield Violation("duplicate effect", f"{key} is {final} after {len(known)}+{unknown} additions")


def _in_time(key: str, adds: Sequence[Event]) -> Iterator[Violation]:
    returned = sorted(adds, key=lambda add: add.returned)
    highest, index = 0, 0
    for add in sorted(adds, key=lambda add: add.called):
        while index < len(returned) and returned[index].returned < add.called:
            highest = max(highest, returned[index].value)
            index += 1
        if add.value <= highest:
            yield Violation("linearizability", f"{key}: {add.value} was returned after {highest}")


def _rolls(events: Sequence[Event], finals: Mapping[str, Sequence[str]]) -> Iterator[Violation]:
    for key, sent in _by_key(events).items():
        lines = finals.get(key, ())
        places = {operation: place for place, operation in enumerate(lines)}
        for operation, count in Counter(lines).items():
            if count > 1:
                yield Violation("duplicate effect", f"{key} has {operation} {count} times")
        for event in sent:
            if event.outcome == "ok" and event.operation not in places:
                yield Violation("lost acknowledgement", f"{key} has no {event.operation}")
            if event.outcome == "ok" and event.verb == "call" and places.get(event.operation) != event.value - 1:
                yield Violation("linearizability", f"{key}: {event.operation} was said to be at {event.value}")
        yield from _order(key, sent, places)


def _order(key: str, sent: Sequence[Event], places: Mapping[str, int]) -> Iterator[Violation]:
    """Of one sender: what was acknowledged at the first try comes before all that was sent later.

    Operations are numbered in the order they were sent in.
    """
    of_sender: dict[str, list[Event]] = defaultdict(list)
    for event in sent:
        if event.operation in places and event.verb == "send":
            of_sender[event.sender].append(event)
    for sender, events in of_sender.items():
        events.sort(key=lambda event: _number(event.operation))
        latest, culprit = -1, ""
        for event in events:
            place = places[event.operation]
            if place < latest:
                yield Violation("order", f"{key}: {sender} sent {event.operation} after {culprit}, which came later")
            if event.outcome == "ok" and event.tries == 1 and place > latest:
                latest, culprit = place, event.operation


def _number(operation: str) -> int:
    return int(operation.rpartition("-")[2])


def _bank(events: Sequence[Event], books: Mapping[str, Books]) -> Iterator[Violation]:
    gave = Counter(operation for book in books.values() for operation in book.gave)
    got = Counter(operation for book in books.values() for operation in book.got)
    for operation in gave.keys() | got.keys():
        if gave[operation] > 1 or got[operation] > 1:
            yield Violation("duplicate effect", _moved(operation, gave, got))
        elif gave[operation] != got[operation]:
            yield Violation("conservation", _moved(operation, gave, got))
    for event in events:
        if event.outcome == "ok" and bool(gave[event.operation]) != event.value[1]:
            yield Violation("lost acknowledgement", f"{event.operation} was answered with {event.value[1]}")
    total, expected = sum(book.balance for book in books.values()), OPENING_BALANCE * len(books)
    if total != expected:
        yield Violation("conservation", f"{expected} have become {total}")


def _moved(operation: str, gave: Counter[str], got: Counter[str]) -> str:
    return f"{operation} left {gave[operation]} and arrived {got[operation]} times"


def registers_of(events: Sequence[Event]) -> Iterator[tuple[str, Verdict]]:
    for key, seen in _by_key(events).items():
        yield key, verdict([_operation(event) for event in seen if event.outcome != "no"])


def _operation(event: Event) -> Operation:
    known = event.outcome == "ok"
    returned = event.returned if known else math.inf
    match event.verb:
        case "read":
            return Operation("read", event.called, returned, result=event.value if known else None)
        case "write":
            return Operation("write", event.called, returned, wrote=event.value[0])
        case _:
            (expected, wrote), result = event.value
            return Operation("compare", event.called, returned, expected, wrote, result if known else None)


def _registers(events: Sequence[Event]) -> Iterator[Violation]:
    for key, found in registers_of(events):
        if found is Verdict.VIOLATED:
            yield Violation("linearizability", f"{key}: no order explains what its senders saw")


def _jobs(events: Sequence[Event], finals: Finals) -> Iterator[Violation]:
    notes = Counter(finals.notes)
    for event in events:
        if not event.verb.startswith("submit") or event.outcome != "ok":
            continue
        ended = finals.jobs.get(event.value)
        if ended is None or ended.state != JobState.COMPLETED:
            yield Violation("lost acknowledgement", f"job {event.value} ({event.operation}) ended as {ended}")
        if event.verb == "submit note" and not notes[event.operation]:
            yield Violation("lost acknowledgement", f"job {event.value} left no row for {event.operation}")
    for operation, count in notes.items():
        if count > 1:
            yield Violation("duplicate effect", f"{count} rows of the jobs for {operation}")
    for event in events:
        if event.verb == "result" and event.outcome == "ok" and event.value != event.operation:
            yield Violation("illegal transition", f"job {event.key}: {event.value} instead of {event.operation}")
    yield from _transitions(events)


def _transitions(events: Sequence[Event]) -> Iterator[Violation]:
    """Looks at one job by one client, one after the other: each state must be reachable from the one before."""
    for job, seen in _by_key(event for event in events if event.verb in ("status", "result")).items():
        last: JobState | None = None
        for event in sorted(seen, key=lambda event: event.called):
            if event.outcome != "ok":
                continue
            state = JobState.COMPLETED if event.verb == "result" else JobState(event.value)
            if last is not None and state is not last and state not in REACHABLE[last]:
                yield Violation("illegal transition", f"job {job} was {last} and then {state}")
            last = state


def _reachable(state: JobState) -> frozenset[JobState]:
    found: set[JobState] = set()
    ahead = [state]
    while ahead:
        for after in MOVES[ahead.pop()] - found:
            found.add(after)
            ahead.append(after)
    return frozenset(found)


REACHABLE = {state: _reachable(state) for state in JobState}


def _cancels(events: Sequence[Event], finals: Finals) -> Iterator[Violation]:
    """A cancelled job leaves no row, a completed one does, and what a cancel answered is how it ended."""
    notes = Counter(finals.notes)
    for job, seen in _by_key(event for event in events if event.key).items():
        ended = finals.jobs.get(job)
        operation = seen[0].operation
        state = ended.state if ended else "nowhere"
        if state not in (JobState.COMPLETED, JobState.CANCELLED):
            yield Violation("lost acknowledgement", f"job {job} ({operation}) ended as {state}")
        if bool(notes[operation]) != (state == JobState.COMPLETED):
            yield Violation("cancel", f"job {job} is {state} with {notes[operation]} rows")
        for event in seen:
            if event.outcome != "ok":
                continue
            if event.verb == "cancel" and event.value in ("cancelled", "interrupted") and state != JobState.CANCELLED:
                yield Violation("cancel", f"job {job} was said to be {event.value} and is {state}")
            if event.verb == "end" and event.value != state:
                yield Violation("illegal transition", f"job {job} was {event.value} and is {state}")


def _poison(events: Sequence[Event], finals: Finals) -> Iterator[Violation]:
    notes = Counter(finals.notes)
    cured = {event.operation for event in events if event.verb == "cure" and event.outcome == "ok"}
    for event in events:
        if event.verb == "replay" and event.outcome == "ok" and event.operation in cured:
            ended = finals.jobs.get(event.value)
            if ended is None or ended.state != JobState.COMPLETED or ended.replay_of != event.key:
                yield Violation("lost acknowledgement", f"the replay of job {event.key} ended as {ended}")
            if notes[event.operation] != 1:
                yield Violation("lost acknowledgement", f"the replay left {notes[event.operation]} rows")
        if event.verb == "die" and event.outcome == "ok" and event.value is False:
            yield Violation("illegal transition", f"job {event.key} lived without its cure")


def _replays(finals: Finals) -> Iterator[Violation]:
    for origin, count in Counter(job.replay_of for job in finals.jobs.values() if job.replay_of).items():
        if count > 1:
            yield Violation("duplicate effect", f"job {origin} was replayed {count} times")
