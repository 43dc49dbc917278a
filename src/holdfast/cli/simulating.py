"""`holdfast verify simulate`: seeds in, a report out."""

from __future__ import annotations

import json
import sys

from holdfast.errors import ConfigurationError
from holdfast.verify.simulate.programme import run_seeds

from .exits import Exit


def run_simulation(*, seeds: int, seed: int | None, first: int, processes: int | None, as_json: bool) -> Exit:
    """FAILED where a seed violates a promise. Raises ConfigurationError."""
    if seeds < 1:
        raise ConfigurationError(f"--seeds is at least 1, not {seeds}")
    if processes is not None and processes < 1:
        raise ConfigurationError(f"--processes is at least 1, not {processes}")
    chosen = [seed] if seed is not None else list(range(first, first + seeds))

    def told(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {len(chosen)} seeds", end="\n" if done == len(chosen) else "", file=sys.stderr)

    report = run_seeds(chosen, processes=processes, told=told)
    print(json.dumps(report.document(), indent=2) if as_json else report.text())
    return Exit.OK if report.ok else Exit.FAILED
