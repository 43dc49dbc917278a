"""What the store and its entities hold once everything has come to rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from holdfast.entities.entity import Entity
from holdfast.errors import HoldfastError
from holdfast.runtime.app import App

from .evidence import Finals, Ticking
from .history import Event
from .rig import Rig
from .scrapes import LastWord, Stored, disagreements
from .subject import SCHEDULES, Account, Books, Counter, Roll, make_app

READ_AT_ONCE, TRIES = 16, 3
OCCURS_EVERY = timedelta(minutes=1)
E = TypeVar("E", bound=Entity[Any])
V = TypeVar("V")


async def read_finals(rig: Rig, seen: Sequence[Event], unfinished: Sequence[str]) -> Finals:
    """`seen` names the entities to ask."""
    keys: dict[str, set[str]] = {"counter": set(), "roll": set(), "bank": set()}
    for event in seen:
        if event.workload in keys:
            keys[event.workload].add(event.key)
        if event.workload == "bank":
            keys["bank"].add(event.value[0][0])
    app = make_app(lease_ttl_s=rig.plan.lease_ttl_s)
    silent = list(unfinished)
    rig.say("asking runners what they counted")
    stored, words = await _counted(rig, silent)
    rig.say(f"asking {sum(map(len, keys.values()))} entities what they hold")
    async with app.client(store=rig.store):
        return Finals(
            counters=await _read(app, Counter, keys["counter"], lambda one: one.value(), silent),
            rolls=await _read(app, Roll, keys["roll"], lambda one: one.lines(), silent),
            books=await _read(app, Account, keys["bank"], _books, silent),
            notes=await rig.audit.notes(),
            schedules=await _schedules(app, rig, silent),
            jobs=await rig.audit.job_ends(),
            stale=await rig.audit.stale(),
            metrics=disagreements(words, stored),
            counted=len(words),
            unfinished=silent,
        )


async def _counted(rig: Rig, silent: list[str]) -> tuple[Stored, list[LastWord]]:
    """What the store has and what runners say; the store twice the same, as a schedule may fire meanwhile."""
    while True:
        before, words = await rig.audit.counted(), list[LastWord]()
        for runner in rig.runners:
            try:
                words += await runner.words()
            except TimeoutError as error:
                silent.append(str(error))
        if before == await rig.audit.counted() or silent:
            return before, words


def _books(account: Account) -> Awaitable[Books]:
    return account.books()


async def _read(
    app: App, entity: type[E], keys: Iterable[str], ask: Callable[[E], Awaitable[V]], silent: list[str]
) -> dict[str, V]:
    """By key; `silent` is told who does not answer, though nothing is broken any more."""
    slots, found = asyncio.Semaphore(READ_AT_ONCE), dict[str, V]()

    async def one(key: str) -> None:
        for tries in range(TRIES):
            async with slots:
                try:
                    found[key] = await ask(app.ref(entity, key))
                except HoldfastError as error:
                    if tries == TRIES - 1:
                        silent.append(f"{key} does not answer: {error!r}")
                else:
                    return

    await asyncio.gather(*(one(key) for key in keys))
    return found


async def _schedules(app: App, rig: Rig, silent: list[str]) -> list[Ticking]:
    """Schedules are asked first: the jobs of all that they say has fired are there then."""
    try:
        said = [await app.schedules.status(name) for name in SCHEDULES]
        keys = await rig.audit.keys_of_schedules()
    except (HoldfastError, TimeoutError) as error:
        silent.append(f"what schedules have done is not known: {error!r}")
        return []
    return [ticking(one.name, one.last_at, one.missed, keys) for one in said if one.last_at is not None]


def ticking(name: str, last_at: datetime, missed: int, keys: Iterable[str]) -> Ticking:
    """A schedule's jobs have its name and their occurrence in their keys."""
    named = [key.rpartition("/") for key in keys]
    fired = {datetime.fromisoformat(at) for prefix, _, at in named if prefix == f"schedule/{name}"}
    until_last = [at for at in fired if at <= last_at]
    due = (last_at - min(until_last, default=last_at)) // OCCURS_EVERY + 1
    return Ticking(name, due, len(until_last), missed)
