"""A runner that was given no processor says so itself: what it was late with then was not its fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

from .evidence import Harm
from .history import Event, Recorder, now

STALLS = "stall"
"""The workload under which a runner's process writes them down."""
LOOK_EVERY_S = 0.2
LATE_LEASES = 0.25
"""What takes so much of a lease may cost a runner its lease: an answer to the simplest question, or to stand still."""
MOSTLY_IDLE = 0.5
"""A process that used more of the time than this was not kept from running: it was late by itself."""


def note_stalls(recorder: Recorder, name: str, *, lease_s: float) -> Callable[[], None]:
    """Notes, from now on, when this process stands still though it asked for no more than the moment; returns what
    ends that. One that keeps its own threads from running uses the processor meanwhile, and is not excused."""
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(recorder, name, lease_s, over), name="holdfast-stalls", daemon=True)
    watch.start()

    def end() -> None:
        over.set()
        watch.join()

    return end


def stalls(seen: Iterable[Event], *, lease_s: float) -> Iterator[Harm]:
    """What processes have noted of themselves; a lease that ran out meanwhile ends what ran some time later."""
    for event in seen:
        if event.workload == STALLS:
            yield Harm(event.sender, event.called - lease_s, event.returned + lease_s)


def _watch(recorder: Recorder, name: str, lease_s: float, over: threading.Event) -> None:
    while True:
        began, used = now(), time.process_time()
        if over.wait(LOOK_EVERY_S):
            return
        stood = now() - began
        if stood > LOOK_EVERY_S + LATE_LEASES * lease_s and time.process_time() - used < MOSTLY_IDLE * stood:
            recorder.add(Event(STALLS, name, name, f"{name}-{began}", "stood still", began, now(), "ok"))
