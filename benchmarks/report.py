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
    """The answer to one question."""

    question: str
    figures: list[Figure] = field(default_factory=list)

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
        if as_json:
            figures = [{**asdict(figure), "median": figure.median} for figure in self.figures]
            print(json.dumps({"question": self.question, "machine": machine(), "figures": figures}, indent=2))
            return
        print(self.question)
        print("machine:", ", ".join(f"{name} {value}" for name, value in machine().items()))
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
