"""A runner whose wall clock can be stepped while it runs, by the library `libfaketime`; its monotonic clock goes on."""

from __future__ import annotations

from pathlib import Path

STEP_CLOCK = "step clock"
DAY_S = 86400
_PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


def library() -> Path | None:
    """Where it is, if it is there."""
    return next(
        (found for place in _PLACES if (found := Path(place) / "faketime" / "libfaketimeMT.so.1").exists()), None
    )


class WallClock:
    """The offset that a process started with `environment` has; a file, so that it can change meanwhile.

    Where it is never to be stepped the process reads the machine's own, which is four times as fast.
    """

    def __init__(self, path: Path, *, steps: bool) -> None:
        self._path = path
        self._library = library() if steps else None
        self.step(0)

    def step(self, seconds: int) -> None:
        """So far off from now on."""
        self._path.write_text(f"{seconds:+d}\n")

    @property
    def environment(self) -> dict[str, str]:
        """Empty where the library is missing."""
        if self._library is None:
            return {}
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }
