"""The application under test. Whatever is lost, doubled, stale or out of order in it shows, in a reply or at the end.

Every operation has an id. Entities are used for a few hundred operations and then left, so that what they remember
stays small however long a run is. Jobs leave a row in a table of the user's, in the transaction that ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from holdfast.entities.definition import message
from holdfast.entities.entity import Entity
from holdfast.jobs.context import job_context
from holdfast.ports.journal import Transaction
from holdfast.runtime.app import App
from holdfast.runtime.declarations import Module
from holdfast.settings import ClusterSettings, EntitySettings, JobSettings, Settings

from .history import Event, Recorder, now

subject = Module()

TABLES = (
    "CREATE TABLE verify_note (operation TEXT NOT NULL, job BIGINT NOT NULL, attempt INTEGER NOT NULL)",
    "CREATE TABLE verify_cure (operation TEXT NOT NULL)",
)
"""The user's own; without unique keys, so that what is doubled can be seen."""
OPENING_BALANCE = 1000

in_transaction: list[Callable[[Transaction], Awaitable[None]]] = []
"""What a handler does in its open transaction, once: the rig freezes a runner there."""
diaries: list[tuple[str, Recorder]] = []
"""This runner's name, and where it notes what the store can't take back."""


def make_app(*, lease_ttl_s: float = 6.0, drain_timeout_s: float = 5.0) -> App:
    """Each process makes its own. No operation is to blame when the rig kills the runner it is on, however often."""
    settings = Settings(
        entities=EntitySettings(crashes_max=100_000, retry_first=0.1, retry_max=1.0, max_deliveries=1000),
        jobs=JobSettings(crashes_max=100_000, retry_first=0.1, retry_max=1.0),
        cluster=ClusterSettings(
            lease_ttl=lease_ttl_s, lease_renewal=lease_ttl_s / 3, drain_timeout=drain_timeout_s, shards=32
        ),
    )
    return App("verify", modules=[subject], settings=settings)


# Counter: fetch and add.


@dataclass
class Count:
    value: int = 0


@subject.entity
class Counter(Entity[Count]):
    @message
    async def add(self) -> int:
        self.state.value += 1
        return self.state.value

    @message(readonly=True)
    async def value(self) -> int:
        return self.state.value


# List: what was sent, in the order in which it was handled.


@dataclass
class Lines:
    lines: list[str] = field(default_factory=list[str])


@subject.entity(mailbox=100_000)
class Roll(Entity[Lines]):
    @message(durable=True, dedupe="operation")
    async def append(self, operation: str) -> int:
        self.state.lines.append(operation)
        return len(self.state.lines)

    @message(durable=True, dedupe="operation")
    async def append_slowly(self, operation: str) -> int:
        """Suspends, so that it is stored before it runs, and more can happen while it does."""
        await asyncio.sleep(0.002)
        self.state.lines.append(operation)
        return len(self.state.lines)

    @message(durable=True, dedupe="operation")
    async def append_later(self, operation: str, seconds: float) -> int:
        """There is time to take its runner's place while it runs."""
        await asyncio.sleep(seconds)
        self.state.lines.append(operation)
        return len(self.state.lines)

    @message(readonly=True)
    async def lines(self) -> list[str]:
        return self.state.lines


# Bank: money that moves between entities, through the outbox.


@dataclass
class Books:
    balance: int = OPENING_BALANCE
    gave: list[str] = field(default_factory=list[str])
    got: list[str] = field(default_factory=list[str])


@subject.entity(mailbox=100_000)
class Account(Entity[Books]):
    @message(durable=True, dedupe="operation")
    async def transfer(self, operation: str, to: str, amount: int) -> bool:
        """False, and nothing happens, where the balance is too small."""
        if self.state.balance < amount:
            return False
        self.state.balance -= amount
        self.state.gave.append(operation)
        await self.ref(Account, to).receive.send(operation, amount)
        return True

    @message(durable=True)
    async def receive(self, operation: str, amount: int) -> None:
        self.state.balance += amount
        self.state.got.append(operation)

    @message(readonly=True)
    async def books(self) -> Books:
        return self.state


# Register: reads, writes and compare-and-set.


@dataclass
class Cell:
    value: int = 0


@subject.entity
class Register(Entity[Cell]):
    @message(readonly=True)
    async def read(self) -> int:
        return self.state.value

    @message
    async def write(self, value: int) -> None:
        self.state.value = value

    @message
    async def compare_and_set(self, expected: int, value: int) -> bool:
        if self.state.value != expected:
            return False
        self.state.value = value
        return True


# Probes: whether an entity answers, and nothing else.


@subject.entity
class Probe(Entity[None]):
    @message(readonly=True)
    async def ping(self) -> None:
        return None


# Jobs.


@subject.job(max_attempts=1000)
async def note(operation: str) -> str:
    await _note(operation)
    return operation


@subject.job(max_attempts=1000)
async def note_slowly(operation: str, seconds: float) -> str:
    """There is time to cancel it before it notes anything."""
    await asyncio.sleep(seconds)
    await _note(operation)
    return operation


@subject.job(max_attempts=1000)
async def echo(operation: str) -> str:
    """Without a transaction of its own: its end is a row of the owner's next commit."""
    return operation


@subject.job(max_attempts=1000)
async def linger(operation: str, seconds: float) -> str:
    """Runs on while its runner drains and its shard moves; each of its runs is in a diary, whatever the store says."""
    for name, diary in diaries:
        began = now()
        diary.add(Event("run", operation, name, operation, "run", began, began, "begun"))
        await asyncio.sleep(seconds)
        diary.add(Event("run", operation, name, operation, "run", began, now(), "ok"))
    return operation


@subject.job(max_attempts=1000)
async def tick() -> None:
    """Its key says which occurrence of which schedule it is."""


SCHEDULES = tuple(f"verify-{number}" for number in range(4))
for _name in SCHEDULES:
    subject.schedule(_name, tick, cron="* * * * *", overlap="allow")


class Poisoned(Exception):
    """The cure has not been taken yet."""


@subject.job(max_attempts=1000, give_up_on=(Poisoned,))
async def swallow(operation: str) -> str:
    """Dies where the cure of this operation is not there; a store that is away is no poison."""
    async with job_context().transaction() as tx:
        if not await tx.fetch("SELECT operation FROM verify_cure WHERE operation = $1", operation):
            raise Poisoned(operation)
        await _write(tx, operation)
    return operation


@subject.entity
class Pharmacy(Entity[None]):
    @message(durable=True, dedupe="operation")
    async def cure(self, operation: str) -> None:
        """Through the entity's own transaction."""
        async with self.transaction() as tx:
            await tx.execute("INSERT INTO verify_cure (operation) VALUES ($1)", operation)


async def _note(operation: str) -> None:
    async with job_context().transaction() as tx:
        await _write(tx, operation)
        if in_transaction:
            await in_transaction.pop()(tx)


async def _write(tx: Transaction, operation: str) -> None:
    context = job_context()
    await tx.execute(
        "INSERT INTO verify_note (operation, job, attempt) VALUES ($1, $2, $3)",
        operation,
        int(context.job_id),
        context.attempt,
    )
