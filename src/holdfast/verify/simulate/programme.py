"""Many seeds, on as many processes as there are cores, and what came of them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from time import process_time
from typing import Any

from holdfast.verify.parent import end_with_parent

from .plan import Plan, plan_of
from .run import Outcome, simulate
from .shrink import shrunk

SEEDS_PER_TASK = 10
SHRINK_MAX = 3
"""Failing seeds that are made smaller; the others are named."""
TRACE_LINES = 40


@dataclass(frozen=True, slots=True)
class Ran:
    """One seed."""

    seed: int
    faults: tuple[str, ...]
    violations: tuple[str, ...]
    digest: str
    events: int
    virtual_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that violated something, and the smallest plan found that still does."""

    seed: int
    violations: Sequence[str]
    plan: Plan | None
    trace: Sequence[str]

    @property
    def command(self) -> str:
        return f"holdfast verify simulate --seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Report:
    runs: Sequence[Ran]
    failures: Sequence[Failure]

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def digest(self) -> str:
        """Over all events of all seeds: the same seeds give the same one, in any process."""
        return hashlib.sha256("".join(run.digest for run in self.runs).encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        faults = Counter(fault for run in self.runs for fault in run.faults)
        return {
            "ok": self.ok,
            "seeds": len(self.runs),
            "events": sum(run.events for run in self.runs),
            "virtual_seconds": round(sum(run.virtual_s for run in self.runs)),
            "cpu_seconds": round(sum(run.cpu_s for run in self.runs), 1),
            "faults": dict(sorted(faults.items())),
            "digest": self.digest,
            "failures": [
                {
                    "seed": failure.seed,
                    "replay": failure.command,
                    "violations": list(failure.violations),
                    "plan": None if failure.plan is None else _described(failure.plan),
                    "trace": list(failure.trace),
                }
                for failure in self.failures
            ],
        }

    def text(self) -> str:
        told = self.document()
        faults = ", ".join(f"{count} {name}" for name, count in told["faults"].items()) or "none"
        lines = [
            f"{told['seeds']} seeds: {told['events']} events in {told['virtual_seconds']} s of virtual time, "
            f"{told['cpu_seconds']} s of this machine's",
            f"faults: {faults}",
            f"digest: {told['digest']}",
        ]
        for failure in self.failures:
            lines += ["", f"seed {failure.seed} fails; replay it with: {failure.command}"]
            lines += [f"  {violation}" for violation in failure.violations]
            if failure.plan is not None:
                lines += ["  the smallest plan that fails:", *(f"    {line}" for line in _described(failure.plan))]
            lines += [f"  | {line}" for line in failure.trace]
        lines += ["", "every promise was kept" if self.ok else f"{len(self.failures)} seeds fail"]
        return "\n".join(lines)


def run_seeds(
    seeds: Sequence[int], *, processes: int | None = None, told: Callable[[int], object] = lambda done: None
) -> Report:
    """Runs the seeds and makes the first failing ones smaller. `told` hears how many are done."""
    chunks = [seeds[start : start + SEEDS_PER_TASK] for start in range(0, len(seeds), SEEDS_PER_TASK)]
    processes = min(processes or os.cpu_count() or 1, len(chunks))
    runs: list[Ran] = []
    if processes <= 1:
        for chunk in chunks:
            runs += _run_chunk(chunk)
            told(len(runs))
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, spawn, end_with_parent, (os.getpid(),)) as pool:
            for some in pool.map(_run_chunk, chunks):
                runs += some
                told(len(runs))
    failing = [run for run in runs if run.violations]
    small = {run.seed for run in failing[:SHRINK_MAX]}
    return Report(runs, [_failure(run, shrink=run.seed in small) for run in failing])


def run_one(seed: int) -> Ran:
    plan, began = plan_of(seed), process_time()
    outcome = outcome_of(plan)
    return Ran(
        seed,
        tuple(fault.kind for fault in plan.faults),
        tuple(outcome.violations),
        outcome.digest,
        outcome.events,
        outcome.virtual_s,
        process_time() - began,
    )


def outcome_of(plan: Plan) -> Outcome:
    """As `simulate`, but an error of the simulation itself is a finding too, and names its place."""
    try:
        return simulate(plan)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"error: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
        return Outcome([found], "", 0, 0.0, [])


def _run_chunk(seeds: Iterable[int]) -> list[Ran]:
    return [run_one(seed) for seed in seeds]


def _failure(run: Ran, *, shrink: bool) -> Failure:
    if not shrink:
        return Failure(run.seed, run.violations, None, ())
    kinds = {_kind(violation) for violation in run.violations}

    def fails(plan: Plan) -> bool:
        return bool(kinds & {_kind(violation) for violation in outcome_of(plan).violations})

    plan = shrunk(plan_of(run.seed), fails)
    outcome = outcome_of(plan)
    return Failure(run.seed, outcome.violations, plan, outcome.trace[-TRACE_LINES:])


def _kind(violation: str) -> str:
    return violation.partition(":")[0]


def _described(plan: Plan) -> list[str]:
    return [
        f"{plan.runners} runners, {plan.shards} shards, {plan.weather}",
        *(f"sender {one.sender} after {one.pause_s:.3f} s: {one.kind} {one.args}" for one in plan.steps),
        *(f"at {one.at_s:.3f} s: {one.kind} (place {one.place}) for {one.for_s:.3f} s" for one in plan.faults),
    ]
