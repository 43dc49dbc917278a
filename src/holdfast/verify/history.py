"""What clients saw: one event for each operation, written as it ends, a line each, so that a killed client's are there.

Moments are seconds of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

Outcome = Literal["ok", "no", "unknown", "begun"]
"""`no`: surely without effect. `unknown`: it may have had one, or may still have. `begun`: noted before the call."""

now = time.monotonic


class Event(msgspec.Struct, array_like=True, frozen=True):
    """One operation of a client."""

    workload: str
    key: str
    """What it was about: an entity's id, or a job's number."""
    sender: str
    operation: str
    verb: str
    called: float
    returned: float
    outcome: Outcome
    value: Any = None
    tries: int = 1


class Recorder:
    """Writes events to a client's file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._encode = msgspec.json.Encoder().encode

    def add(self, event: Event) -> None:
        self._file.write(self._encode(event) + b"\n")

    def close(self) -> None:
        self._file.close()


def events(folder: Path) -> Iterator[Event]:
    """All clients' events, as they ended; what a client had begun when it was killed has an unknown outcome.

    The last line of a client that was killed may be torn, and is then passed over.
    """
    decode = msgspec.json.Decoder(Event).decode
    for path in sorted(folder.glob("*.events")):
        begun: dict[tuple[str, str, str], Event] = {}
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                event = decode(line)
                if event.outcome == "begun":
                    begun[event.sender, event.operation, event.verb] = event
                else:
                    begun.pop((event.sender, event.operation, event.verb), None)
                    yield event
        yield from (msgspec.structs.replace(event, returned=math.inf, outcome="unknown") for event in begun.values())
