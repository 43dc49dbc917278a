"""A runner's process that stands still notes it, and is excused only where it was kept from running."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import pytest

from holdfast.verify import stalls
from holdfast.verify.evidence import Harm
from holdfast.verify.history import Recorder, events


class Standing:
    """What a watch waits with: it stands still for as many seconds of the played clocks, and is over then."""

    def __init__(self, *stood: tuple[float, float]) -> None:
        self.stood = list(stood)
        self.clock, self.used = 100.0, 7.0

    def wait(self, timeout: float) -> bool:
        if not self.stood:
            return True
        seconds, used = self.stood.pop(0)
        self.clock += seconds
        self.used += used
        return False


def test_a_process_that_was_given_no_processor_is_excused_and_one_that_kept_it_busy_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    played = Standing((0.2, 0.2), (3.0, 0.1), (4.0, 3.5), (1.1, 0.0))
    monkeypatch.setattr(stalls, "now", lambda: played.clock)
    monkeypatch.setattr(stalls.time, "process_time", lambda: played.used)
    diary = Recorder(tmp_path / "runner-1.events")
    stalls._watch(diary, "runner-1", 4.0, cast(threading.Event, played))  # pyright: ignore[reportPrivateUsage]
    diary.close()
    (harm,) = stalls.stalls(events(tmp_path), lease_s=4.0)
    assert harm == Harm("runner-1", pytest.approx(96.2), pytest.approx(107.2))  # pyright: ignore[reportArgumentType]


def test_the_watch_of_a_process_ends_when_told(tmp_path: Path) -> None:
    diary = Recorder(tmp_path / "runner-1.events")
    end = stalls.note_stalls(diary, "runner-1", lease_s=1000.0)
    assert "holdfast-stalls" in {thread.name for thread in threading.enumerate()}
    end()
    diary.close()
    assert "holdfast-stalls" not in {thread.name for thread in threading.enumerate()}
    assert list(events(tmp_path)) == []
