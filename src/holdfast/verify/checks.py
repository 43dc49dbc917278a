"""What must be true of a run, however many faults it had: events and what the store holds at the end go in, violations
come out. Pure.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from .evidence import Finals, Harm, Violation, by_key
from .history import Event, now
from .jobs_checks import check_jobs
from .linearizability import Operation, Verdict, verdict
from .subject import OPENING_BALANCE, Books


class Checked(NamedTuple):
    violations: list[Violation]
    undecided: int
    """Registers whose history was too much for the search."""
    registers: int


def check(
    events: Sequence[Event],
    finals: Finals,
    harms: Sequence[Harm] = (),
    *,
    told: Callable[[str], None] = lambda said: None,
) -> Checked:
    """`told` hears of each check, and how long it took."""
    by_workload: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_workload[event.workload].append(event)
    verdicts = Counter[Verdict]()
    parts = {
        "counters": _counters(by_workload["counter"], finals.counters),
        "lists and their order": _rolls(by_workload["roll"], finals.rolls),
        "money": _bank(by_workload["bank"], finals.books),
        "registers": _registers(by_workload["register"], verdicts),
        "jobs": check_jobs(by_workload, finals, harms),
        "what the store noted": _noted(finals),
    }
    violations: list[Violation] = []
    for name, found in parts.items():
        began = now()
        violations += found
        told(f"checked {name}: {now() - began:.1f} s")
    return Checked(violations, verdicts[Verdict.UNDECIDED], verdicts.total())


def _noted(finals: Finals) -> Iterator[Violation]:
    yield from (Violation("stale commit", what) for what in finals.stale)
    yield from (Violation("metrics", what) for what in finals.metrics)
    yield from (Violation("unfinished", what) for what in finals.unfinished)


def _counters(events: Sequence[Event], finals: Mapping[str, int]) -> Iterator[Violation]:
    """Fetch-and-add: no value twice, none before one that was returned earlier, none missing at the end."""
    for key, adds in by_key(events).items():
        if key not in finals:
            continue  # it does not answer, which is told as such
        known = [add for add in adds if add.outcome == "ok"]
        unknown = sum(add.outcome == "unknown" for add in adds)
        for value, count in Counter(add.value for add in known).items():
            if count > 1:
                yield Violation("duplicate effect", f"{key}: {count} calls got {value}")
        yield from _in_time(key, known)
        final = finals[key]
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
    for key, sent in by_key(events).items():
        if key not in finals:
            continue
        lines = finals[key]
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
    """Operations are numbered in the order they were sent in."""
    of_sender: dict[str, list[Event]] = defaultdict(list)
    for event in sent:
        if event.verb == "send":
            of_sender[event.sender].append(event)
    for sender, events in of_sender.items():
        operations = sorted((event.operation for event in events), key=_number)
        at_once = {event.operation for event in events if event.outcome == "ok" and event.tries == 1}
        for operation, later in out_of_order(operations, at_once, places):
            yield Violation("order", f"{key}: {sender} sent {operation} after {later}, which came later")


def out_of_order(sent: Sequence[str], at_once: Collection[str], places: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Of one sender to one entity: what was acknowledged at the first try comes before all that was sent later.

    Yields what came too early, and what it came before.
    """
    latest, culprit = -1, ""
    for operation in sent:
        place = places.get(operation)
        if place is None:
            continue
        if place < latest:
            yield operation, culprit
        if operation in at_once and place > latest:
            latest, culprit = place, operation


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


def _registers(events: Sequence[Event], verdicts: Counter[Verdict]) -> Iterator[Violation]:
    """`verdicts` are counted."""
    for key, seen in by_key(events).items():
        judged = verdict([_operation(event) for event in seen if event.outcome != "no"])
        verdicts[judged] += 1
        if judged is Verdict.VIOLATED:
            yield Violation("linearizability", f"{key}: no order explains what its senders saw")


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
