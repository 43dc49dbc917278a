"""The application of the simulation: whatever is lost, doubled, half done or out of order in it shows at the end.

Entities keep what was done to them. What handlers did that is no effect of theirs (that they ran at all) goes to a
witness outside the cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from holdfast.entities.definition import message, stream
from holdfast.entities.entity import Entity
from holdfast.jobs.context import job_context
from holdfast.runtime.app import App
from holdfast.runtime.declarations import Module
from holdfast.settings import ClusterSettings, EntitySettings, JobSettings, Settings

town = Module()

PATIENT = 1000
"""Deliveries and attempts that nothing here uses up, unless it is meant to."""
POISON_TRIES = 2
JOB_TRIES = 3
MAILBOX = 5
LEASE_TTL_S = 2.0


class NoMoney(Exception):
    pass


class Bad(Exception):
    pass


@dataclass
class Witness:
    """What one run saw, beside the cluster."""

    app: App
    started: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    """(job, attempt number, name) of every start of a job's handler."""
    cured: bool = False
    """What was poison is none any more."""


_witness: list[Witness] = []


def watched_by(witness: Witness) -> None:
    """One run at a time in a process."""
    _witness[:] = [witness]


def _watching() -> Witness:
    return _witness[0]


def make_app(*, shards: int) -> App:
    settings = Settings(
        entities=EntitySettings(retry_first=0.2, retry_max=2.0, crashes_max=PATIENT, call_timeout=10.0),
        jobs=JobSettings(retry_first=0.2, retry_max=2.0, crashes_max=PATIENT, slots=4),
        cluster=ClusterSettings(shards=shards, lease_ttl=LEASE_TTL_S, lease_renewal=0.6, drain_timeout=4.0),
    )
    return App("simulated", modules=[town], settings=settings)


# Entities.


@dataclass
class Book:
    balance: int = 0
    deposits: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Per sender the numbers of its steps, as they were handled."""
    transfers: list[str] = field(default_factory=list[str])
    touches: list[str] = field(default_factory=list[str])
    timers: list[str] = field(default_factory=list[str])
    cures: list[str] = field(default_factory=list[str])


@town.entity
class Account(Entity[Book]):
    @message(durable=True, max_deliveries=PATIENT)
    async def deposit(self, sender: str, number: int, amount: int) -> int:
        if number % 5 == 4:
            await asyncio.sleep(0.3)
        self.state.deposits.setdefault(sender, []).append(number)
        self.state.balance += amount
        return self.state.balance

    @message(durable=True, dedupe="transfer", errors=(NoMoney,), max_deliveries=PATIENT)
    async def pay(self, transfer: str, to: str, amount: int) -> int:
        if self.state.balance < amount:
            raise NoMoney(self.state.balance)
        self.state.balance -= amount
        self.state.transfers.append(transfer)
        await self.ref(Account, to).receive.send(transfer, amount)
        await audit.submit(transfer)
        return self.state.balance

    @message(durable=True, max_deliveries=PATIENT)
    async def receive(self, transfer: str, amount: int) -> None:
        self.state.balance += amount
        self.state.transfers.append(transfer)

    @message
    async def touch(self, name: str) -> int:
        """A volatile change: its caller may not know whether it happened, but it happens once or not at all."""
        self.state.touches.append(name)
        return len(self.state.touches)

    @message(durable=True, max_deliveries=POISON_TRIES)
    async def swallow(self, name: str) -> None:
        self.state.cures.append(name)
        if not _watching().cured:
            raise Bad(name)

    @message(durable=True, max_deliveries=PATIENT)
    async def remind(self, name: str) -> None:
        self.state.timers.append(name)

    @message(durable=True, max_deliveries=PATIENT)
    async def set_timer(self, timer: str, name: str, delay_s: float) -> None:
        await self.remind.opts(name=timer, delay=delay_s).send(name)

    @message(durable=True, max_deliveries=PATIENT)
    async def unset_timer(self, timer: str) -> bool:
        return await self.cancel_timer(timer)

    @stream
    async def history(self) -> AsyncIterator[str]:
        for name in [*self.state.transfers, *self.state.touches]:
            yield name

    @message(readonly=True)
    async def show(self) -> Book:
        return self.state


@dataclass
class Pad:
    told: list[str] = field(default_factory=list[str])


@town.entity
class Teller(Entity[Pad]):
    """Sends what it is told on to an account, in its own transaction."""

    @message(durable=True, max_deliveries=PATIENT)
    async def tell(self, sender: str, number: int, account: str, amount: int) -> None:
        self.state.told.append(f"{sender}/{number}")
        deposit = self.ref(Account, account).deposit
        if number % 2:
            await deposit.opts(key=f"{sender}/{number}").send(f"teller of {sender}", number, amount)
        else:
            await deposit.send(f"teller of {sender}", number, amount)

    @message(readonly=True)
    async def show(self) -> Pad:
        return self.state


@dataclass
class Tub:
    drops: list[str] = field(default_factory=list[str])


@town.entity(mailbox=MAILBOX)
class Basin(Entity[Tub]):
    """Takes its time, and little at once."""

    @message(durable=True, max_deliveries=PATIENT)
    async def pour(self, name: str) -> None:
        await asyncio.sleep(0.1)
        self.state.drops.append(name)

    @message(readonly=True)
    async def show(self) -> Tub:
        return self.state


@dataclass
class Lines:
    lines: list[str] = field(default_factory=list[str])


@town.entity
class Roll(Entity[Lines]):
    """Keeps the order in which it was told."""

    @message(durable=True, max_deliveries=PATIENT)
    async def append(self, line: str) -> None:
        self.state.lines.append(line)

    @message(readonly=True)
    async def show(self) -> Lines:
        return self.state


@dataclass
class Pages:
    entries: list[str] = field(default_factory=list[str])


@town.entity
class Log(Entity[Pages]):
    """Where jobs leave that they were done, in the commit that ends them."""

    @message(durable=True, max_deliveries=PATIENT)
    async def note(self, entry: str) -> None:
        self.state.entries.append(entry)

    @message(readonly=True)
    async def show(self) -> Pages:
        return self.state


# Jobs.


async def _done(name: str) -> None:
    context = job_context()
    await _watching().app.ref(Log, "log").note.send(f"{name}/{context.job_id}")


def _started(name: str) -> int:
    context = job_context()
    _watching().started.append((int(context.job_id), context.attempt, name))
    return context.attempt


@town.job(max_attempts=JOB_TRIES)
async def work(name: str, failures: int, seconds: float) -> str:
    """Fails its first attempts."""
    attempt = _started(name)
    if seconds:
        await asyncio.sleep(seconds)
    if attempt <= failures:
        raise Bad(name)
    await _done(name)
    return name


@town.job(max_attempts=PATIENT)
async def audit(transfer: str) -> str:
    _started(transfer)
    await _done(transfer)
    return transfer


@town.job(max_attempts=PATIENT, group_limit=1)
async def in_turn(name: str, seconds: float) -> str:
    _started(name)
    if seconds:
        await asyncio.sleep(seconds)
    await _done(name)
    return name


@town.job(max_attempts=2)
async def bad(name: str) -> str:
    _started(name)
    if not _watching().cured:
        raise Bad(name)
    await _done(name)
    return name
