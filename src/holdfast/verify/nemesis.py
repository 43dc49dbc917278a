"""A run from its beginning to its report: work, faults, rest, and then the questions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from holdfast.entities.entity import Entity
from holdfast.errors import HoldfastError
from holdfast.runtime.app import App

from .checks import Finals, Violation, check
from .history import Event, events, now
from .recovery import recoveries
from .report import Report
from .rig import Plan, Rig, progress, rig_for
from .storm import Storm, kinds_of, mark_overlaps, storm
from .subject import Account, Books, Roll, make_app
from .subject import Counter as CounterEntity
from .timeline import picture

READ_AT_ONCE = 16
E = TypeVar("E", bound=Entity[Any])
V = TypeVar("V")


async def run(plan: Plan, *, timeline: Path | None = None) -> Report:
    """Raises ConfigurationError where the rig can't be put up. `timeline`: where a picture of the run goes."""
    async with rig_for(plan) as rig:
        found = await storm(rig)
        progress("verify: no more faults; all that was accepted may end")
        await rig.heal()
        await asyncio.gather(*(client.finish() for client in (*rig.clients, rig.prober)))
        unfinished = await _rest(rig)
        seen = list(events(rig.folder / "events"))
        progress(f"verify: checking {len(seen)} operations")
        finals = await _finals(rig, seen, unfinished)
        if plan.keep:
            (rig.folder / "finals.json").write_bytes(msgspec.json.encode(finals))
            (rig.folder / "faults.json").write_bytes(msgspec.json.encode(found.injections))
            (rig.folder / "done.json").write_bytes(msgspec.json.encode(await rig.audit.done()))
        report = _report(rig, found, seen, finals)
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


async def _finals(rig: Rig, seen: Sequence[Event], unfinished: Sequence[str]) -> Finals:
    keys: dict[str, set[str]] = {"counter": set(), "roll": set(), "bank": set()}
    for event in seen:
        if event.workload in keys:
            keys[event.workload].add(event.key)
        if event.workload == "bank":
            keys["bank"].add(event.value[0][0])
    app = make_app(lease_ttl_s=rig.plan.lease_ttl_s)
    silent = list(unfinished)
    async with app.client(store=rig.store):
        return Finals(
            counters=await _read(app, CounterEntity, keys["counter"], lambda one: one.value(), silent),
            rolls=await _read(app, Roll, keys["roll"], lambda one: one.lines(), silent),
            books=await _read(app, Account, keys["bank"], _books, silent),
            notes=await rig.audit.notes(),
            jobs=await rig.audit.job_ends(),
            stale=await rig.audit.stale(),
            unfinished=silent,
        )


def _books(account: Account) -> Awaitable[Books]:
    return account.books()


async def _read(
    app: App, entity: type[E], keys: Iterable[str], ask: Callable[[E], Awaitable[V]], silent: list[str]
) -> dict[str, V]:
    """By key; `silent` is told who does not answer, though nothing is broken any more."""
    slots, found = asyncio.Semaphore(READ_AT_ONCE), dict[str, V]()

    async def one(key: str) -> None:
        async with slots:
            try:
                found[key] = await ask(app.ref(entity, key))
            except HoldfastError as error:
                silent.append(f"{key} does not answer: {error!r}")

    await asyncio.gather(*(one(key) for key in keys))
    return found


def _report(rig: Rig, found: Storm, seen: Sequence[Event], finals: Finals) -> Report:
    plan = rig.plan
    checked = check(seen, finals)
    by_themselves = [what for member in rig.members for what in member.ended_by_itself]
    violations = [*checked.violations, *(Violation("process", what) for what in (*by_themselves, *found.errors))]
    mark_overlaps(found.injections, after_s=plan.lease_ttl_s)
    noted = [event for event in seen if event.workload != "probe"]
    return Report(
        seed=plan.seed,
        seconds=plan.seconds,
        lease_ttl_s=plan.lease_ttl_s,
        runners=plan.runners,
        acknowledged=dict(Counter(event.workload for event in noted if event.outcome == "ok")),
        unknown=sum(event.outcome == "unknown" for event in noted),
        faults=dict(kinds_of(found.injections)),
        overlapping=sum(one.overlapped for one in found.injections),
        not_run=found.not_run,
        violations=violations,
        registers=checked.registers,
        undecided=checked.undecided,
        recoveries=recoveries(found.injections, seen, lease_ttl_s=plan.lease_ttl_s),
        metrics=(),
        folder=str(rig.folder) if plan.keep else None,
    )
