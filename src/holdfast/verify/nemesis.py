"""A run from its beginning to its report: work, faults, rest, and then the questions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from .checks import check
from .evidence import Finals, Violation
from .finals import read_finals
from .history import Event, events, now
from .recovery import recoveries
from .report import Report
from .rig import Plan, Rig, rig_for
from .stalls import STALLS, stalls
from .storm import Storm, harms, kinds_of, mark_overlaps, storm
from .strain import Strain, strain_noted
from .timeline import picture

UNCOUNTED = ("probe", "run", STALLS)
"""Workloads whose events are not a client's operations."""


async def run(plan: Plan, *, timeline: Path | None = None, harm: Callable[[Rig], Awaitable[Storm]] = storm) -> Report:
    """Raises ConfigurationError where the rig can't be put up.

    `timeline`: where a picture of the run goes. `harm`: what is done to the rig, and when.
    """
    async with rig_for(plan) as rig:
        async with strain_noted(rig) as strain:
            found = await harm(rig)
            rig.say("no more faults; what clients have begun may end")
            await rig.heal()
            await asyncio.gather(*(client.finish() for client in (*rig.clients, *rig.probers)))
            rig.say("clients are done; what was accepted may end")
            unfinished = await _rest(rig)
        seen = await asyncio.to_thread(list, events(rig.folder / "events"))
        finals = await read_finals(rig, seen, unfinished)
        rig.say(f"checking {len(seen)} operations")
        if plan.keep:
            (rig.folder / "finals.json").write_bytes(msgspec.json.encode(finals))
            (rig.folder / "faults.json").write_bytes(msgspec.json.encode(found.injections))
            (rig.folder / "done.json").write_bytes(msgspec.json.encode(await rig.audit.done()))
        report = await asyncio.to_thread(_report, rig, found, strain, seen, finals)
        if timeline is not None:
            title = f"nemesis, seed {plan.seed}: {report.verdict}"
            drawn = picture(found.injections, seen, began=rig.started, title=title)
            await asyncio.to_thread(timeline.write_text, drawn, encoding="utf-8")
        return report


async def _rest(rig: Rig) -> list[str]:
    """What is still to be done when the patience is over: nothing."""
    give_up_at = now() + rig.plan.rest_s
    while True:
        unfinished = await rig.audit.unfinished()
        if not unfinished or now() > give_up_at:
            return unfinished
        await asyncio.sleep(0.2)


def _report(rig: Rig, found: Storm, strain: Strain, seen: Sequence[Event], finals: Finals) -> Report:
    plan = rig.plan
    stalled = list(stalls(seen, lease_s=plan.lease_ttl_s))
    harmed = [*harms(found.injections, margin_s=2 * plan.lease_ttl_s), *strain.moments, *stalled]
    checked = check(seen, finals, harmed, told=rig.say)
    by_themselves = [what for member in rig.members for what in member.ended_by_itself]
    violations = [*checked.violations, *(Violation("process", what) for what in (*by_themselves, *found.errors))]
    mark_overlaps(found.injections, after_s=plan.lease_ttl_s)
    noted = [event for event in seen if event.workload not in UNCOUNTED]
    return Report(
        seed=plan.seed,
        seconds=plan.seconds,
        lease_ttl_s=plan.lease_ttl_s,
        runners=plan.runners,
        processors_busy=strain.busy,
        acknowledged=dict(Counter(event.workload for event in noted if event.outcome == "ok")),
        unknown=sum(event.outcome == "unknown" for event in noted),
        faults=dict(kinds_of(found.struck)),
        overlapping=sum(one.overlapped for one in found.struck),
        without_effect=dict(found.without_effect),
        not_run=found.not_run,
        violations=violations,
        looked_at={
            "registers": checked.registers,
            "registers too long to decide": checked.undecided,
            "jobs run": sum(event.workload == "run" for event in seen),
            "occurrences of schedules": sum(one.fired for one in finals.schedules),
            "runners whose counters were compared": finals.counted,
            "times the store was slow to answer": len(strain.moments),
            "times a runner stood still": len(stalled),
        },
        recoveries=recoveries(found.injections, seen, lease_ttl_s=plan.lease_ttl_s),
        folder=str(rig.folder) if plan.keep else None,
    )
