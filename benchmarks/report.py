"""What every benchmark command shares: its arguments, the machine it ran on, medians, and one way to print them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reference import measured_aside


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity over several runs; `must` and `aim` are what it is held against, in the same unit."""

    name: str
    unit: str
    runs: tuple[float, ...]
    must: float | None = None
    aim: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.runs)


@dataclass(slots=True)
class Report:
    """The answer to one question. `reference_per_s`: the bare mailbox before the first figure and after the last."""

    question: str
    figures: list[Figure] = field(default_factory=list)
    reference_per_s: list[float] = field(default_factory=lambda: [measured_aside()])

    def add(
        self,
        name: str,
        unit: str,
        runs: Sequence[float],
        *,
        must: float | None = None,
        aim: float | None = None,
        note: str = "",
    ) -> None:
        self.figures.append(Figure(name, unit, tuple(runs), must, aim, note))

    def show(self, *, as_json: bool) -> None:
        self.reference_per_s.append(measured_aside())
        if as_json:
            figures = [{**asdict(figure), "median": figure.median} for figure in self.figures]
            answer = {"question": self.question, "machine": machine(), "bare_mailbox_per_s": self.reference_per_s}
            print(json.dumps({**answer, "figures": figures}, indent=2))
            return
        print(self.question)
        print("machine:", ", ".join(f"{name} {value}" for name, value in machine().items()))
        before, after = self.reference_per_s
        print(f"a bare asyncio mailbox on this machine: {before:,.0f}/s before, {after:,.0f}/s after (per CPU second)")
        for figure in self.figures:
            low, high = min(figure.runs), max(figure.runs)
            held = "" if figure.must is None else f"   must {figure.must:,g}, aim {figure.aim:,g}"
            spread = f"({low:,.4g} to {high:,.4g} in {len(figure.runs)} runs)"
            print(f"  {figure.name:<58} {figure.median:>12,.4g} {figure.unit:<5} {spread}{held}  {figure.note}")


def machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def arguments(doc: str | None, *, runs: int = 5) -> argparse.Namespace:
    """`--runs` and `--json`, as every command has them."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help=f"measured runs, after one warm-up (default {runs})")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--store-dir", default=None, help="where temporary stores are made (default: a temporary folder)"
    )
    parsed = parser.parse_args(sys.argv[1:])
    if parsed.runs < 1:
        parser.error("--runs is at least 1")
    return parsed
