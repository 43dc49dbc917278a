"""Each check finds what it is for, and nothing in a run that was right."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from holdfast.verify.checks import check
from holdfast.verify.evidence import Finals, Harm, JobEnd, Ticking
from holdfast.verify.history import Event, Outcome
from holdfast.verify.subject import OPENING_BALANCE, Books


def event(workload: str, key: str, operation: str, verb: str, outcome: Outcome, value: Any, **more: Any) -> Event:
    return Event(
        workload, key, "s", operation, verb, more.pop("called", 0.0), more.pop("returned", 1.0), outcome, value
    )


MINUTE = "schedule/s/2026-01-01T00:00:00Z"
EVENTS = [
    event("counter", "c", "", "add", "ok", 1, returned=1.0),
    event("counter", "c", "", "add", "ok", 2, called=2.0, returned=3.0),
    event("counter", "c", "", "add", "unknown", None),
    event("roll", "r", "s-1", "send", "ok", None),
    event("roll", "r", "s-2", "send", "ok", None),
    event("roll", "r", "s-3", "call", "ok", 3),
    event("bank", "a", "t-1", "transfer", "ok", [["b", 10], True]),
    event("bank", "a", "t-2", "transfer", "ok", [["b", 5000], False]),
    event("register", "x", "", "write", "ok", [4, None]),
    event("register", "x", "", "read", "ok", 4, called=2.0, returned=3.0),
    event("jobs", "", "j-1", "submit note", "ok", "1"),
    event("jobs", "1", "j-1", "status", "ok", "running"),
    event("jobs", "1", "j-1", "result", "ok", "j-1", called=2.0, returned=3.0),
    event("cancel", "", "k-1", "submit", "ok", "2"),
    event("cancel", "2", "k-1", "cancel", "ok", "interrupted"),
    event("cancel", "2", "k-1", "end", "ok", "cancelled"),
    event("poison", "3", "p-1", "die", "ok", True),
    event("poison", "3", "p-1", "cure", "ok", None),
    event("poison", "3", "p-1", "replay", "ok", "4"),
]
FINALS = Finals(
    counters={"c": 3},
    rolls={"r": ["s-1", "s-2", "s-3"]},
    books={"a": Books(OPENING_BALANCE - 10, ["t-1"], []), "b": Books(OPENING_BALANCE + 10, [], ["t-1"])},
    notes=["j-1", "p-1"],
    jobs={
        "1": JobEnd("1", "note", "completed", None),
        "2": JobEnd("2", "note_slowly", "cancelled", None),
        "3": JobEnd("3", "swallow", "dead", None),
        "4": JobEnd("4", "swallow", "completed", "3"),
        "6": JobEnd("6", "tick", "completed", None, MINUTE),
    },
    schedules=[Ticking("s", 3, 2, 1)],
)


def kinds(events: list[Event], finals: Finals) -> set[str]:
    return {violation.kind for violation in check(events, finals).violations}


def test_a_run_that_was_right_has_no_violations() -> None:
    """Unknown outcomes included."""
    assert check(EVENTS, FINALS).violations == []
    assert kinds(EVENTS, dataclasses.replace(FINALS, counters={"c": 2})) == set()


def test_a_job_that_repeated_a_key_ends_as_the_first_one_does() -> None:
    """It came out of the inbox and is cancelled itself; what it was submitted for was done once, by the other."""
    events = [
        event("jobs", "", "j-1", "submit note", "ok", "8"),
        event("jobs", "8", "j-1", "status", "ok", "cancelled"),
        event("jobs", "8", "j-1", "result", "ok", "j-1", called=2.0, returned=3.0),
        event("cancel", "9", "k-2", "end", "ok", "cancelled"),
    ]
    ends = {number: JobEnd(number, "note", "cancelled", None, same_as="1") for number in ("8", "9")}
    right = dataclasses.replace(FINALS, jobs={**FINALS.jobs, **ends}, notes=["j-1", "k-2", "p-1"])
    assert kinds([*EVENTS, *events], right) == set()
    lost = dataclasses.replace(right, jobs={**right.jobs, "8": JobEnd("8", "note", "cancelled", None, same_as="0")})
    assert kinds([*EVENTS, *events], lost) == {"lost acknowledgement"}


def test_an_entity_that_does_not_answer_is_told_once() -> None:
    """And not as everything that it may hold."""
    assert kinds(EVENTS, dataclasses.replace(FINALS, counters={}, rolls={}, unfinished=["c", "r"])) == {"unfinished"}


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"counters": {"c": 1}}, "lost acknowledgement"),
        ({"counters": {"c": 4}}, "duplicate effect"),
        ({"rolls": {"r": ["s-1", "s-3"]}}, "lost acknowledgement"),
        ({"rolls": {"r": ["s-1", "s-2", "s-3", "s-2"]}}, "duplicate effect"),
        ({"rolls": {"r": ["s-2", "s-1", "s-3"]}}, "order"),
        ({"rolls": {"r": ["s-3", "s-1", "s-2"]}}, "linearizability"),
        ({"books": {"a": Books(OPENING_BALANCE - 10, ["t-1"], []), "b": Books()}}, "conservation"),
        ({"books": {"a": Books(), "b": Books()}}, "lost acknowledgement"),
        ({"notes": ["p-1"]}, "lost acknowledgement"),
        ({"notes": ["j-1", "j-1", "p-1"]}, "duplicate effect"),
        ({"notes": ["j-1", "p-1", "k-1"]}, "cancel"),
        ({"jobs": {**FINALS.jobs, "1": JobEnd("1", "note", "dead", None)}}, "lost acknowledgement"),
        ({"jobs": {**FINALS.jobs, "2": JobEnd("2", "note_slowly", "completed", None)}}, "cancel"),
        ({"jobs": {**FINALS.jobs, "5": JobEnd("5", "swallow", "completed", "3")}}, "duplicate effect"),
        ({"jobs": {**FINALS.jobs, "4": JobEnd("4", "swallow", "dead", "3")}}, "lost acknowledgement"),
        ({"jobs": {**FINALS.jobs, "7": JobEnd("7", "tick", "completed", None, MINUTE)}}, "duplicate effect"),
        ({"jobs": {**FINALS.jobs, "6": JobEnd("6", "tick", "dead", None, MINUTE)}}, "schedule"),
        ({"schedules": [Ticking("s", 3, 2, 0)]}, "schedule"),
        ({"metrics": ["runner 1 counted 2 jobs as dead; the store has 1"]}, "metrics"),
        ({"stale": ["message 1"]}, "stale commit"),
        ({"unfinished": ["1 rows in holdfast_job"]}, "unfinished"),
    ],
)
def test_what_the_store_must_not_hold(wrong: dict[str, Any], kind: str) -> None:
    """Every kind of wrong end is found and named."""
    assert kind in kinds(EVENTS, dataclasses.replace(FINALS, **wrong))


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (event("counter", "c", "", "add", "ok", 2, called=5.0, returned=6.0), "duplicate effect"),
        (event("counter", "c", "", "add", "ok", 0, called=5.0, returned=6.0), "linearizability"),
        (event("register", "x", "", "read", "ok", 3, called=5.0, returned=6.0), "linearizability"),
        (event("jobs", "1", "j-1", "status", "ok", "running", called=5.0, returned=6.0), "illegal transition"),
        (event("jobs", "1", "j-1", "result", "ok", "j-7"), "illegal transition"),
        (event("cancel", "2", "k-1", "end", "ok", "completed"), "illegal transition"),
        (event("poison", "3", "p-1", "die", "ok", False), "illegal transition"),
    ],
)
def test_what_no_client_must_see(seen: Event, kind: str) -> None:
    """Also where the end is right."""
    assert kind in kinds([*EVENTS, seen], FINALS)


def run_on(runner: str, called: float, outcome: Outcome = "ok") -> Event:
    return Event("run", "j-1", runner, "j-1", "run", called, called + 2.0, outcome)


@pytest.mark.parametrize(
    ("runs", "harms", "found"),
    [
        ([run_on("runner-0", 1.0)], [], set()),
        ([run_on("runner-0", 1.0), run_on("runner-1", 2.0)], [], {"doubled attempt"}),
        ([run_on("runner-0", 1.0, "unknown"), run_on("runner-1", 2.0)], [], set()),
        ([run_on("runner-0", 1.0), run_on("runner-1", 2.0)], [Harm("runner-0", 0.0, 1.5)], set()),
        ([run_on("runner-0", 1.0), run_on("runner-1", 2.0)], [Harm("store", 2.0, 3.0)], set()),
        ([run_on("runner-0", 1.0), run_on("runner-1", 2.0)], [Harm("runner-1", 0.0, 9.0)], {"doubled attempt"}),
        ([run_on("runner-0", 1.0), run_on("runner-1", 2.0)], [Harm("runner-0", 3.5, 9.0)], {"doubled attempt"}),
    ],
)
def test_what_ran_to_its_end_is_run_again_only_where_its_runner_was_harmed(
    runs: list[Event], harms: list[Harm], found: set[str]
) -> None:
    """One that was killed on the way has not come to its end."""
    assert {violation.kind for violation in check(runs, Finals(), harms).violations} == found
