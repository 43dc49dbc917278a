"""What must be true of the jobs of a run: acknowledged ones end once and as they were said to, schedules fire once per
occurrence, and nothing that was running is run again while nobody harmed whoever ran it. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from holdfast.model.job import MOVES, JobState

from .evidence import Finals, Harm, Violation, by_key
from .history import Event

SCHEDULED = "schedule/"
"""What the keys of a schedule's jobs begin with."""


def check_jobs(
    by_workload: Mapping[str, Sequence[Event]], finals: Finals, harms: Sequence[Harm]
) -> Iterator[Violation]:
    """All of it; `by_workload` knows every workload."""
    yield from _jobs(by_workload["jobs"], finals)
    yield from _cancels(by_workload["cancel"], finals)
    yield from _poison(by_workload["poison"], finals)
    yield from _replays(finals)
    yield from _schedules(finals)
    yield from _doubled(by_workload["run"], harms)


def _jobs(events: Sequence[Event], finals: Finals) -> Iterator[Violation]:
    notes = Counter(finals.notes)
    for event in events:
        if not event.verb.startswith("submit") or event.outcome != "ok":
            continue
        ended = finals.end_of(event.value)
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
    yield from _transitions(events, finals)


def _transitions(events: Sequence[Event], finals: Finals) -> Iterator[Violation]:
    """Looks at one job by one client, one after the other: each state must be reachable from the one before.

    Not at one that repeats another's key: its state is its own, its result the other's.
    """
    for job, seen in by_key(event for event in events if event.verb in ("status", "result")).items():
        if finals.end_of(job) is not finals.jobs.get(job):
            continue
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
    for job, seen in by_key(event for event in events if event.key).items():
        ended, own = finals.end_of(job), finals.jobs.get(job)
        operation = seen[0].operation
        state, own_state = ended.state if ended else "nowhere", own.state if own else "nowhere"
        if state not in (JobState.COMPLETED, JobState.CANCELLED):
            yield Violation("lost acknowledgement", f"job {job} ({operation}) ended as {state}")
        if bool(notes[operation]) != (state == JobState.COMPLETED):
            yield Violation("cancel", f"job {job} is {state} with {notes[operation]} rows")
        for event in seen:
            if event.outcome != "ok":
                continue
            if event.verb == "cancel" and event.value in ("cancelled", "interrupted") and state != JobState.CANCELLED:
                yield Violation("cancel", f"job {job} was said to be {event.value} and is {state}")
            if event.verb == "end" and event.value != own_state:
                yield Violation("illegal transition", f"job {job} was {event.value} and is {own_state}")


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


def _schedules(finals: Finals) -> Iterator[Violation]:
    """An occurrence has one job, which completes; what was late because nobody could fire it was counted as missed."""
    for key, count in Counter(end.key for end in finals.jobs.values() if end.key and end.replay_of is None).items():
        if key.startswith(SCHEDULED) and count > 1:
            yield Violation("duplicate effect", f"{count} jobs of {key}")
    for end in finals.jobs.values():
        if end.key and end.key.startswith(SCHEDULED) and end.state != JobState.COMPLETED:
            yield Violation("schedule", f"the job of {end.key} ended as {end.state}")
    for ticking in finals.schedules:
        if ticking.fired + ticking.missed < ticking.due:
            said = f"{ticking.fired} fired and {ticking.missed} were counted as missed"
            yield Violation("schedule", f"of {ticking.due} occurrences of {ticking.name} {said}")


def _doubled(runs: Sequence[Event], harms: Sequence[Harm]) -> Iterator[Violation]:
    """A run that came to its end is not followed by another one of the same job, unless its runner was harmed.

    A drain and a hand-over are no harm: what runs meanwhile ends where it runs.
    """
    by_operation: dict[str, list[Event]] = {}
    for run in runs:
        by_operation.setdefault(run.operation, []).append(run)
    for operation, seen in by_operation.items():
        last = max(run.called for run in seen)
        for run in seen:
            if run.outcome == "ok" and run.called < last and not any(harm.touches(run) for harm in harms):
                yield Violation("doubled attempt", f"{operation} ran to its end on {run.sender}, and then once more")
