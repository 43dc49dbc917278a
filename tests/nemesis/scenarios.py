"""What brings a broken runner to light: each scenario needs one promise, and leaves nothing to chance.

A runner that is as it should be comes through all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from holdfast.verify.desk import TRY_S
from holdfast.verify.subject import Account, Counter, Register, Roll, linger

from .stage import LEASE_TTL_S, Stage, until

LATER_S = 3.0
"""Seconds that a handler takes in which its runner is replaced."""


async def frozen_in_a_flush(stage: Stage) -> None:
    """The owner freezes while the server is at its commit, and is replaced; then the commit goes on."""
    key, operation = stage.entity(), stage.desk.operation()
    owner = await stage.owner(Roll, key)
    call = partial(stage.desk.ref(Roll, key).append.opts(timeout=TRY_S), operation)
    async with stage.gate.closed():
        sending = asyncio.create_task(stage.desk.until_done("roll", key, "call", call, operation))
        await stage.at_the_gate()
        async with stage.replaced(owner):
            owner.freeze()
    owner.thaw()
    await sending


async def frozen_in_a_handler(stage: Stage) -> None:
    """The owner freezes in the middle of a handler, and goes on as if nothing had been while the next one sleeps."""
    key, operation = stage.entity(), stage.desk.operation()
    owner = await stage.owner(Roll, key)
    call = partial(stage.desk.ref(Roll, key).append_later.opts(timeout=4 * LATER_S), operation, LATER_S)
    sending = asyncio.create_task(stage.desk.until_done("roll", key, "call", call, operation))
    await until(partial(_is_stored, stage, key))
    async with stage.replaced(owner):
        owner.freeze()
    async with stage.others_frozen(owner):
        owner.thaw()
        await stage.perhaps(until(partial(_has_ended, stage, key)))
    await sending


async def killed_in_a_flush(stage: Stage) -> None:
    """The owner dies while the server is at its commit; whoever was told that it is done has been told a lie."""
    key, operation = stage.entity(), stage.desk.operation()
    owner = await stage.owner(Roll, key)
    ref = stage.desk.ref(Roll, key)
    await stage.reached(ref.lines)
    call = partial(ref.append.opts(timeout=TRY_S), operation)
    async with stage.gate.closed():
        sending = asyncio.create_task(stage.desk.once("roll", key, "call", call, operation))
        await stage.at_the_gate()
        await stage.perhaps(sending)
        async with stage.replaced(owner):
            await owner.kill()
    await sending


async def read_behind_a_flush(stage: Stage) -> None:
    """A register is read while a write to it is being committed, and the write comes to nothing."""
    key = stage.entity()
    owner = await stage.owner(Register, key)
    ref = stage.desk.ref(Register, key)
    await stage.reached(ref.read)
    read = partial(stage.desk.once, "register", key, "read", ref.read.opts(timeout=TRY_S))
    async with stage.gate.closed():
        call = partial(ref.write.opts(timeout=TRY_S), 3)
        writing = asyncio.create_task(stage.desk.once("register", key, "write", call, with_value=3))
        await stage.at_the_gate()
        reading = asyncio.create_task(read())
        await stage.perhaps(reading)
        async with stage.replaced(owner):
            await owner.kill()
    await asyncio.gather(writing, reading)
    await read()


async def cut_off_in_a_flush(stage: Stage) -> None:
    """The owner's lines to the store break while the server is at its commit, which goes on."""
    key = stage.entity()
    owner = await stage.owner(Counter, key)
    ref = stage.desk.ref(Counter, key)
    await stage.reached(ref.value)
    async with stage.gate.closed():
        call = ref.add.opts(timeout=TRY_S)
        adding = asyncio.create_task(stage.desk.once("counter", key, "add", call))
        first = await stage.at_the_gate()
        owner.links.store.cut()

        async def over() -> bool:
            return adding.done() or await stage.gate.waiting() != first

        await until(over)
    await adding


async def money_to_another_runner(stage: Stage) -> None:
    """What an entity sends goes by the inbox where the receiver lives elsewhere."""
    giving, taking = stage.rig.runners
    giver, taker = await stage.entity_of(giving, Account), await stage.entity_of(taking, Account)
    operation = stage.desk.operation()
    call = partial(stage.desk.ref(Account, giver).transfer.opts(timeout=TRY_S), operation, taker, 7)
    await stage.desk.until_done("bank", giver, "transfer", call, operation, [taker, 7])


async def sent_again(stage: Stage) -> None:
    """By a client that has not heard that its message arrived; the runner that knew has gone."""
    key, operation = stage.entity(), stage.desk.operation()
    owner = await stage.owner(Roll, key)
    call = partial(stage.desk.ref(Roll, key).append.opts(timeout=TRY_S), operation)
    await stage.desk.until_done("roll", key, "call", call, operation)
    await owner.drain()
    await stage.desk.until_done("roll", key, "call", call, operation)


async def drained_with_a_job(stage: Stage) -> None:
    """A runner drains while a job runs on it, for so long that its lease would have run out before the job is done."""
    operation = stage.desk.operation()

    async def submit() -> str:
        return str((await linger.opts(key=operation).submit(operation, LEASE_TTL_S + 2.0)).id)

    submitted = await stage.desk.until_done("jobs", "", "submit linger", submit, operation)
    run = await stage.run_of(operation)
    await next(runner for runner in stage.rig.runners if runner.name == run.sender).drain()
    wait = partial(stage.desk.app.jobs.wait, submitted.value, timeout=TRY_S)
    await stage.desk.until_done("jobs", submitted.value, "result", wait, operation)


async def _is_stored(stage: Stage, key: str) -> bool:
    return bool(await stage.rig.audit.rows(f"SELECT 1 FROM holdfast_message WHERE entity_id = '{key}'"))


async def _has_ended(stage: Stage, key: str) -> bool:
    return bool(await stage.rig.audit.rows(f"SELECT 1 FROM holdfast_done WHERE entity_id = '{key}'"))


Scenario = Callable[[Stage], Awaitable[None]]
SCENARIOS: tuple[Scenario, ...] = (
    frozen_in_a_flush,
    frozen_in_a_handler,
    killed_in_a_flush,
    read_behind_a_flush,
    cut_off_in_a_flush,
    money_to_another_runner,
    sent_again,
    drained_with_a_job,
)
