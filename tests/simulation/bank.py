"""A bank whose accounts move money by durable messages, and what has to hold of it whatever the store does.

Callers retry under the same key until they know the outcome, so what they saw acknowledged can be reconciled with the
accounts: nothing acknowledged is lost, nothing is done twice, nothing half, and each caller's messages to one account
are handled in the order it sent them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from holdfast import App, Entity, Module, Receipt, message
from holdfast.errors import HandlerFailed, MessageDead, MessageError

bank = Module()

TRIES_MAX = 40


class NoMoney(Exception):
    pass


@dataclass
class Book:
    balance: int = 0
    seen: dict[str, list[int]] = field(default_factory=dict)
    """Per sender the numbers of its messages, as they were handled."""
    transfers: list[str] = field(default_factory=list)


@bank.entity
class Account(Entity[Book]):
    @message(durable=True, max_deliveries=100)
    async def deposit(self, sender: str, number: int, amount: int) -> int:
        self.state.seen.setdefault(sender, []).append(number)
        self.state.balance += amount
        if number % 7 == 3:
            await asyncio.sleep(0.01)
        return self.state.balance

    @message(durable=True, dedupe="transfer", errors=(NoMoney,), max_deliveries=100)
    async def pay(self, transfer: str, to: str, amount: int) -> int:
        if self.state.balance < amount:
            raise NoMoney(self.state.balance)
        self.state.balance -= amount
        self.state.transfers.append(transfer)
        await self.ref(Account, to).receive.send(transfer, amount)
        return self.state.balance

    @message(durable=True, max_deliveries=100)
    async def receive(self, transfer: str, amount: int) -> None:
        self.state.balance += amount
        self.state.transfers.append(transfer)

    @message
    async def touch(self, sender: str) -> int:
        """A volatile change: its caller may not know whether it happened, but it happens once or not at all."""
        self.state.seen.setdefault(sender, []).append(len(self.state.seen.get(sender, [])))
        return len(self.state.seen[sender])

    @message(readonly=True)
    async def show(self) -> Book:
        return self.state


@dataclass
class Heard:
    """What callers were told."""

    deposits: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """(account, sender) -> numbers acknowledged, in the order sent."""
    deposited: int = 0
    paid: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    touches: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """(account, sender) -> how many surely happened, how many may have."""


async def deposits(app: App, heard: Heard, sender: str, account: str, count: int, random: Random) -> None:
    """Sends its deposits one after the other, each until it knows that it was accepted."""
    numbers = heard.deposits[account, sender] = []
    receipts: list[Receipt[int]] = []
    for number in range(count):
        amount = random.randint(1, 100)
        message = app.ref(Account, account).deposit.opts(key=f"{sender}-{number}")
        receipts.append(await until_known(lambda send=message.send, a=amount, n=number: send(sender, n, a), random))
        numbers.append(number)
        heard.deposited += amount
    for receipt in receipts:
        await until_known(lambda one=receipt: app.cluster.result(one), random)


async def payments(app: App, heard: Heard, sender: str, accounts: list[str], count: int, random: Random) -> None:
    for number in range(count):
        source, target = random.sample(accounts, 2)
        transfer = f"{sender}-{number}"
        amount = random.randint(1, 60)
        try:
            await until_known(
                lambda s=source, t=target, name=transfer, a=amount: app.ref(Account, s).pay(name, t, a), random
            )
        except NoMoney:
            heard.refused.add(transfer)
        else:
            heard.paid.add(transfer)


async def touches(app: App, heard: Heard, sender: str, account: str, count: int, random: Random) -> None:
    sure = possible = 0
    for _ in range(count):
        try:
            await app.ref(Account, account).touch(sender)
        except MessageError as error:
            possible += error.executed != "no"
            await asyncio.sleep(random.uniform(0, 0.5))
        else:
            sure += 1
            possible += 1
    heard.touches[account, sender] = (sure, possible)


async def until_known(ask, random: Random):  # type: ignore[no-untyped-def]
    """Asks again, with the same key, until there is an answer."""
    for _ in range(TRIES_MAX):
        try:
            return await ask()
        except (HandlerFailed, MessageDead):
            raise
        except MessageError:
            await asyncio.sleep(random.uniform(0, 1))
    raise AssertionError("the store has let nothing through for too long")


async def reconcile(app: App, heard: Heard, accounts: list[str]) -> None:
    books = {account: await app.ref(Account, account).show() for account in accounts}
    for (account, sender), numbers in heard.deposits.items():
        happened = books[account].seen.get(sender, [])
        assert happened == numbers, (account, sender, happened)
    for (account, sender), (sure, possible) in heard.touches.items():
        happened = books[account].seen.get(sender, [])
        assert happened == list(range(len(happened))) and sure <= len(happened) <= possible, (account, sender)
    done = Counter(transfer for book in books.values() for transfer in book.transfers)
    both = Counter([*heard.paid, *heard.paid])  # each transfer leaves once and arrives once
    assert done == both, f"too often: {done - both}; too seldom: {both - done}"
    assert sum(book.balance for book in books.values()) == heard.deposited
    assert all(book.balance >= 0 for book in books.values())
    assert not heard.refused & set(done)
    assert await app.cluster.dead_letters() == []
