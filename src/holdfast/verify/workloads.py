"""What clients do all the time. Each workload is one sender's endless loop, until it is told to stop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from holdfast.errors import JobCancelled, JobDead
from holdfast.model.job import PRIORITIES

from .desk import TRY_S, Desk, attempt
from .history import Event, now
from .subject import Account, Counter, Pharmacy, Probe, Register, Roll, echo, linger, note, note_slowly, swallow

TRANSFERS_PER_BANK = 200
ACCOUNTS = 4
SENT_PER_ENTITY, BURST = 100, 25
ADDS = 10
REGISTER_OPERATIONS = 48
REGISTER_SENDERS = 3
PROBES = 32
PROBE_EVERY_S = 0.1
PROBE_TRY_S = 0.5
GAP_S = 0.25
"""A probe that was not answered for so long is noted."""


# Messages.


async def counter(desk: Desk) -> None:
    """Volatile fetch-and-add, several at once, on counters that all clients share."""
    key = f"counter-{int(now() / 20)}-{desk.rng.randrange(4)}"
    add = desk.ref(Counter, key).add.opts(timeout=TRY_S)
    await asyncio.gather(*(desk.once("counter", key, "add", add) for _ in range(ADDS)))
    await desk.breathe(ADDS)


async def roll(desk: Desk) -> None:
    """Bursts of durable sends without waiting in between; what was not acknowledged is sent again under its key.

    The last one for each list is a call, so that nobody gets further ahead of what was handled.
    """
    for generation in itertools.count():
        key = f"roll-{desk.name}-{generation}"
        for _ in range(SENT_PER_ENTITY // BURST):
            if desk.stopping.is_set():
                return
            await asyncio.gather(*(_sent(desk, key, desk.operation()) for _ in range(BURST)))
            await desk.breathe(BURST)
        operation = desk.operation()
        call = partial(desk.ref(Roll, key).append.opts(timeout=TRY_S), operation)
        await desk.until_done("roll", key, "call", call, operation)


async def _sent(desk: Desk, key: str, operation: str) -> None:
    send = desk.ref(Roll, key).append.send

    async def call() -> None:
        await asyncio.wait_for(send(operation), TRY_S)

    await desk.until_done("roll", key, "send", call, operation)


async def called_roll(desk: Desk) -> None:
    """Durable calls that wait for their reply, on lists that several clients share."""
    key, operation = f"shared-{int(now() / 10)}-{desk.rng.randrange(4)}", desk.operation()
    ref = desk.ref(Roll, key)
    bound = ref.append_slowly if desk.rng.random() < 0.5 else ref.append
    await desk.until_done("roll", key, "call", partial(bound.opts(timeout=TRY_S), operation), operation)


async def bank(desk: Desk) -> None:
    """Transfers between the accounts of a bank of one's own."""
    for generation in itertools.count():
        names = [f"account-{desk.name}-{generation}-{number}" for number in range(ACCOUNTS)]
        for _ in range(TRANSFERS_PER_BANK):
            if desk.stopping.is_set():
                return
            giver, taker = desk.rng.sample(names, 2)
            amount, operation = desk.rng.randrange(1, 400), desk.operation()
            call = partial(desk.ref(Account, giver).transfer.opts(timeout=TRY_S), operation, taker, amount)
            await desk.until_done("bank", giver, "transfer", call, operation, [taker, amount])
            await desk.breathe()


async def register(desk: Desk) -> None:
    """Reads, writes and compare-and-set on registers that a few senders share at a time."""
    team = desk.name.rpartition(".")[0]
    for generation in itertools.count():
        key = f"register-{team}-{generation}"
        for _ in range(REGISTER_OPERATIONS // REGISTER_SENDERS):
            if desk.stopping.is_set():
                return
            await _register_once(desk, key)
            await desk.breathe()


async def _register_once(desk: Desk, key: str) -> None:
    ref = desk.ref(Register, key)
    match desk.rng.randrange(3):
        case 0:
            await desk.once("register", key, "read", ref.read.opts(timeout=TRY_S))
        case 1:
            value = desk.rng.randrange(1, 6)
            await desk.once("register", key, "write", partial(ref.write.opts(timeout=TRY_S), value), with_value=value)
        case _:
            pair = [desk.rng.randrange(6), desk.rng.randrange(1, 6)]
            call = partial(ref.compare_and_set.opts(timeout=TRY_S), *pair)
            await desk.once("register", key, "compare", call, with_value=pair)


# Jobs.


async def jobs(desk: Desk) -> None:
    """Submits jobs with and without a transaction of their own, looks at their states, and waits for them."""
    operation, kind = desk.operation(), desk.rng.choice(("note", "echo"))
    declared = note if kind == "note" else echo
    submit = declared.opts(key=operation, priority=desk.rng.choice(PRIORITIES)).submit
    submitted = await desk.until_done("jobs", "", f"submit {kind}", partial(_id_of, submit, operation), operation)
    if submitted.outcome == "ok":
        number = submitted.value
        for _ in range(desk.rng.randrange(3)):
            await desk.once("jobs", number, "status", partial(_state, desk, number), operation)
        waiting = partial(desk.app.jobs.wait, number, timeout=TRY_S)
        await desk.until_done("jobs", number, "result", waiting, operation)


async def lingering(desk: Desk) -> None:
    """Jobs that take their time, so that drains and rolling restarts find some running."""
    operation, seconds = desk.operation(), desk.rng.uniform(0.1, 2.0)
    submit = linger.opts(key=operation).submit
    call = partial(_id_of, submit, operation, seconds)
    submitted = await desk.until_done("jobs", "", "submit linger", call, operation)
    if submitted.outcome == "ok":
        waiting = partial(desk.app.jobs.wait, submitted.value, timeout=TRY_S)
        await desk.until_done("jobs", submitted.value, "result", waiting, operation)


async def cancels(desk: Desk) -> None:
    """Cancels jobs at about the moment when they start or end."""
    operation, seconds = desk.operation(), desk.rng.uniform(0, 0.03)
    call = partial(_id_of, note_slowly.opts(key=operation).submit, operation, seconds)
    submitted = await desk.until_done("cancel", "", "submit", call, operation)
    if submitted.outcome == "ok":
        number = submitted.value
        await asyncio.sleep(desk.rng.uniform(0, 0.06))
        await desk.once("cancel", number, "cancel", partial(_cancelled, desk, number), operation)
        await desk.until_done("cancel", number, "end", partial(_ended, desk, number), operation)


async def poison(desk: Desk) -> None:
    """Jobs that die, are cured, and replayed."""
    operation = desk.operation()
    call = partial(_id_of, swallow.opts(key=operation).submit, operation)
    submitted = await desk.until_done("poison", "", "submit", call, operation)
    if submitted.outcome == "ok":
        number = submitted.value
        died = await desk.until_done("poison", number, "die", partial(_died, desk, number), operation)
        if died.value is True:
            cure = partial(desk.ref(Pharmacy, desk.name).cure.opts(timeout=TRY_S), operation)
            await desk.until_done("poison", number, "cure", cure, operation)
            await _replay(desk, number, operation)
    await asyncio.sleep(desk.pause_s * 20)


async def _replay(desk: Desk, number: Any, operation: str) -> None:
    """Once: a second replay of the same dead job is refused, so that one whose answer was lost is not followed."""
    replayed = await desk.once("poison", number, "replay", partial(_replayed, desk, number), operation)
    if replayed.outcome == "ok":
        waiting = partial(desk.app.jobs.wait, replayed.value, timeout=TRY_S)
        await desk.until_done("poison", replayed.value, "result", waiting, operation)


async def _id_of(submit: Callable[..., Any], *args: Any) -> str:
    return str((await asyncio.wait_for(submit(*args), TRY_S)).id)


async def _state(desk: Desk, number: Any) -> str:
    return str((await asyncio.wait_for(desk.app.jobs.status(number), TRY_S)).state)


async def _cancelled(desk: Desk, number: Any) -> str:
    return str(await asyncio.wait_for(desk.app.jobs.cancel(number), TRY_S))


async def _ended(desk: Desk, number: Any) -> str:
    """The job's terminal state, waited for."""
    with suppress(JobCancelled, JobDead):
        await desk.app.jobs.wait(number, timeout=TRY_S)
    return await _state(desk, number)


async def _died(desk: Desk, number: Any) -> bool:
    try:
        await desk.app.jobs.wait(number, timeout=TRY_S)
    except JobDead:
        return True
    return False


async def _replayed(desk: Desk, number: Any) -> str:
    return str((await asyncio.wait_for(desk.app.jobs.replay(number), TRY_S)).id)


# Probes.


async def probes(desk: Desk) -> None:
    """Asks entities all over the cluster whether they answer, and notes for how long one did not."""
    await asyncio.gather(*(_probe(desk, f"probe-{number}") for number in range(PROBES)))


async def _probe(desk: Desk, key: str) -> None:
    ask = desk.ref(Probe, key).ping.opts(timeout=PROBE_TRY_S)
    await asyncio.sleep(desk.rng.uniform(0, PROBE_EVERY_S))
    last = now()
    while not desk.stopping.is_set():
        asked = now()
        outcome, _ = await attempt(ask)
        if outcome == "ok":
            answered = now()
            if answered - last > GAP_S:
                desk.recorder.add(Event("probe", key, desk.name, "", "gap", last, answered, "ok"))
            last = answered
        await asyncio.sleep(max(0.01, PROBE_EVERY_S - (now() - asked)))


Workload = Callable[[Desk], Awaitable[None]]


def again_and_again(body: Workload) -> Workload:
    return lambda desk: desk.repeat(body)


SENDERS: dict[str, tuple[Workload, int]] = {
    "counter": (again_and_again(counter), 2),
    "roll": (roll, 4),
    "shared": (again_and_again(called_roll), 2),
    "bank": (bank, 2),
    "register": (register, REGISTER_SENDERS),
    "jobs": (again_and_again(jobs), 3),
    "linger": (again_and_again(lingering), 1),
    "cancel": (again_and_again(cancels), 2),
    "poison": (again_and_again(poison), 1),
}
"""The workloads of a client, and the senders of each."""
