"""The users: senders who do their steps one after the other, and remember what they were told.

What has a key is tried again under it until its outcome is known. So what was heard can be held against what is there
at the end: `checks` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.entities.door import Receipt
from holdfast.errors import (
    AlreadyCancelled,
    HoldfastError,
    JobError,
    JobKeyConflict,
    MailboxFull,
    MessageError,
)
from holdfast.jobs.door import CancelOutcome
from holdfast.model.ids import job_id
from holdfast.runtime.app import App

from .answers import known
from .bursts import Sent, send_burst
from .plan import Step
from .town import Account, Basin, NoMoney, Teller, bad, in_turn, work


@dataclass
class SubmittedJob:
    number: int
    name: str
    failures: int = 0
    cancels: list[tuple[CancelOutcome | None, int]] = field(default_factory=list[tuple[CancelOutcome | None, int]])
    """Outcome (None: too late), and how many starts had been seen when it was heard."""
    maybe_cancelled: bool = False


@dataclass
class Heard:
    """What users were told."""

    deposits: dict[tuple[str, str], list[int]] = field(default_factory=dict[tuple[str, str], list[int]])
    """(account, sender) -> numbers that were accepted, in the order sent."""
    deposited: int = 0
    tells: dict[tuple[str, str], list[int]] = field(default_factory=dict[tuple[str, str], list[int]])
    paid: set[str] = field(default_factory=set[str])
    refused: set[str] = field(default_factory=set[str])
    touches: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    maybe_touched: set[str] = field(default_factory=set[str])
    acknowledged: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Account -> transfers and touches of it that whoever looks from now on must see."""
    stale: list[str] = field(default_factory=list[str])
    """Looks that missed some of those."""
    messages: set[int] = field(default_factory=set[int])
    """Ids of all receipts."""
    jobs: dict[int, SubmittedJob] = field(default_factory=dict[int, SubmittedJob])
    maybe_jobs: set[str] = field(default_factory=set[str])
    shared: dict[str, set[tuple[int, str]]] = field(default_factory=dict[str, set[tuple[int, str]]])
    """Key -> the jobs it led to, with the payload it was asked for."""
    grouped: dict[tuple[int, str], list[int]] = field(default_factory=dict[tuple[int, str], list[int]])
    """(sender, group) -> job ids in the order submitted."""
    timers: dict[tuple[str, str], list[tuple[str, str]]] = field(
        default_factory=dict[tuple[str, str], list[tuple[str, str]]]
    )
    """(account, timer) -> ("set", name) and ("gone" | "none", ""), in order."""
    poison: dict[str, str] = field(default_factory=dict[str, str])
    """Name -> account."""
    bad_jobs: dict[int, str] = field(default_factory=dict[int, str])
    poured: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    spilt: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    bursts: dict[tuple[str, str], Sent] = field(default_factory=dict[tuple[str, str], Sent])
    """(roll, sender) -> what it sent there."""


class Crowd:
    """All senders of a run."""

    def __init__(
        self,
        app: App,
        heard: Heard,
        *,
        starts: Callable[[], int],
        told: Callable[[str], object],
        inside: Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """`starts`: how many attempts have begun; `told`: hears of each outcome, for the trace; `inside`: runs every
        other sender, where not all are clients."""
        self._app = app
        self._heard = heard
        self._starts = starts
        self._told = told
        self._inside = inside

    async def act(self, steps: Sequence[Step]) -> None:
        """Returns when all have done all their steps. Raises NoAnswer."""
        lines: dict[int, list[Step]] = {}
        for step in steps:
            lines.setdefault(step.sender, []).append(step)
        async with asyncio.TaskGroup() as group:
            for sender, line in lines.items():
                acting = self._sender(line)
                group.create_task(acting if self._inside is None or sender % 2 else self._inside(acting))

    async def _sender(self, line: list[Step]) -> None:
        mine: list[SubmittedJob] = []
        for step in line:
            await asyncio.sleep(step.pause_s)
            outcome = await self._do(step, mine)
            self._told(f"step {step.number} {step.kind}: {outcome}")

    async def _do(self, step: Step, mine: list[SubmittedJob]) -> object:  # noqa: C901 - one flat table of cases
        match step.kind:
            case "deposit":
                return await self._deposit(step)
            case "tell":
                return await self._tell(step)
            case "pay":
                return await self._pay(step)
            case "touch":
                return await self._touch(step)
            case "show" | "stream":
                return await self._look(step)
            case "job" | "long job":
                return await self._job(step, mine)
            case "cancel":
                return await self._cancel(mine)
            case "grouped":
                return await self._grouped(step)
            case "keyed":
                return await self._keyed(step)
            case "timer" | "untime":
                return await self._timer(step)
            case "poison":
                return await self._poison(step)
            case "bad job":
                return await self._bad_job(step)
            case "flood":
                return await self._flood(step)
            case "burst":
                return await self._burst(step)
            case _:
                raise AssertionError(step.kind)

    # Messages.

    def _account(self, name: str) -> Account:
        return self._app.ref(Account, name)

    def _received(self, receipt: Receipt[Any]) -> None:
        self._heard.messages.add(receipt.message_id)

    async def _deposit(self, step: Step) -> object:
        account, amount = step.args
        sender = f"s{step.sender}"
        send = self._account(account).deposit.opts(key=f"k{step.number}").send
        receipt = await known(step, lambda: send(sender, step.number, amount))
        self._received(receipt)
        self._heard.deposits.setdefault((account, sender), []).append(step.number)
        self._heard.deposited += amount
        return receipt.message_id

    async def _tell(self, step: Step) -> object:
        account, amount = step.args
        sender = f"s{step.sender}"
        send = self._app.ref(Teller, sender).tell.opts(key=f"k{step.number}").send
        receipt = await known(step, lambda: send(sender, step.number, account, amount))
        self._received(receipt)
        self._heard.tells.setdefault((account, f"teller of {sender}"), []).append(step.number)
        self._heard.deposited += amount
        return receipt.message_id

    async def _pay(self, step: Step) -> object:
        source, target, amount = step.args
        transfer = f"p{step.number}"
        try:
            await known(step, lambda: self._account(source).pay(transfer, target, amount))
        except NoMoney:
            self._heard.refused.add(transfer)
            return "no money"
        self._heard.paid.add(transfer)
        self._heard.acknowledged.setdefault(source, set()).add(transfer)
        return "paid"

    async def _touch(self, step: Step) -> object:
        (account,), name = step.args, f"t{step.number}"
        try:
            await self._account(account).touch(name)
        except MessageError as error:
            if error.executed != "no":
                self._heard.maybe_touched.add(name)
            return f"{error.reason} {error.executed}"
        self._heard.touches.setdefault(account, []).append(name)
        self._heard.acknowledged.setdefault(account, set()).add(name)
        return "ok"

    async def _look(self, step: Step) -> object:
        (name,), account = step.args, self._account(step.args[0])
        sure = set(self._heard.acknowledged.get(name, ()))
        try:
            if step.kind == "show":
                book = await account.show()
                there = {*book.transfers, *book.touches}
            else:
                there = {element async for element in account.history()}
        except MessageError as error:
            return error.reason
        if missing := sorted(sure - there):
            self._heard.stale.append(f"step {step.number} looked at {name} and did not see {missing}")
        return len(there)

    async def _timer(self, step: Step) -> object:
        account, timer = step.args[0], f"s{step.sender}-{step.args[1]}"
        story = self._heard.timers.setdefault((account, timer), [])
        ref, key = self._account(account), f"k{step.number}"
        if step.kind == "timer":
            name = f"r{step.number}"
            await known(step, lambda: ref.set_timer.opts(key=key)(timer, name, step.args[2]))
            story.append(("set", name))
            return "set"
        gone = await known(step, lambda: ref.unset_timer.opts(key=key)(timer))
        story.append(("gone" if gone else "none", ""))
        return gone

    async def _poison(self, step: Step) -> object:
        (account,), name = step.args, f"x{step.number}"
        send = self._account(account).swallow.opts(key=name).send
        self._received(await known(step, lambda: send(name)))
        self._heard.poison[name] = account
        return "swallowed"

    async def _flood(self, step: Step) -> object:
        basin, count = step.args
        names = [f"d{step.number}-{drop}" for drop in range(count)]
        poured = await asyncio.gather(*(self._pour(step, basin, name) for name in names))
        for name, took in zip(names, poured, strict=True):
            if took is not None:
                (self._heard.poured if took else self._heard.spilt).setdefault(basin, set()).add(name)
        return f"{poured.count(True)} of {count}"

    async def _pour(self, step: Step, basin: str, name: str) -> bool | None:
        """Whether it was taken; None where it was refused, and perhaps taken by an earlier try."""
        send = self._app.ref(Basin, basin).pour.opts(key=name).send
        tries: list[str] = []

        async def pour() -> Receipt[None]:
            tries.append(name)
            return await send(name)

        try:
            self._received(await known(step, pour, but=MailboxFull))
        except MailboxFull:
            return False if len(tries) == 1 else None
        return True

    async def _burst(self, step: Step) -> object:
        sent = self._heard.bursts.setdefault((step.args[0], f"s{step.sender}"), Sent())
        receipts = await send_burst(self._app, step, sent)
        for receipt in receipts:
            self._received(receipt)
        return len(receipts)

    # Jobs.

    async def _job(self, step: Step, mine: list[SubmittedJob]) -> object:
        failures, seconds, delay, priority = step.args
        name, key = f"j{step.number}", f"j{step.number}" if step.number % 2 else None
        options = work.opts(key=key, delay=delay or None, priority=priority)
        if key is not None:
            handle = await known(step, lambda: options.submit(name, failures, seconds))
        else:
            try:
                handle = await options.submit(name, failures, seconds)
            except HoldfastError as error:
                self._heard.maybe_jobs.add(name)
                return error.reason
        job = SubmittedJob(int(handle.id), name, failures)
        mine.append(job)
        self._heard.jobs[job.number] = job
        return handle.id

    async def _cancel(self, mine: list[SubmittedJob]) -> object:
        if not mine:
            return "nothing"
        job = mine[-1]
        outcome: CancelOutcome | None = None
        try:
            outcome = await self._app.jobs.cancel(job_id(job.number))
        except AlreadyCancelled:
            outcome = None
        except (MessageError, JobError, TimeoutError) as error:
            job.maybe_cancelled = True
            return type(error).__name__
        job.cancels.append((outcome, self._starts()))
        # Too late may be too late for one's own earlier try, whose answer was lost on the way.
        job.maybe_cancelled |= outcome in (None, CancelOutcome.REQUESTED)
        return outcome

    async def _grouped(self, step: Step) -> object:
        group, seconds = step.args
        name = f"j{step.number}"
        options = in_turn.opts(key=name, group=group)
        handle = await known(step, lambda: options.submit(name, seconds))
        self._heard.jobs[int(handle.id)] = SubmittedJob(int(handle.id), name)
        self._heard.grouped.setdefault((step.sender, group), []).append(int(handle.id))
        return handle.id

    async def _keyed(self, step: Step) -> object:
        key, variant = f"shared{step.args[0]}", step.args[1]
        name = f"{key}v{variant}"
        try:
            handle = await known(step, lambda: work.opts(key=key).submit(name, 0, 0.1), but=JobKeyConflict)
        except JobKeyConflict:
            return "conflict"
        self._heard.shared.setdefault(key, set()).add((int(handle.id), name))
        self._heard.jobs.setdefault(int(handle.id), SubmittedJob(int(handle.id), name))
        return handle.id

    async def _bad_job(self, step: Step) -> object:
        name = f"b{step.number}"
        handle = await known(step, lambda: bad.opts(key=name).submit(name))
        self._heard.bad_jobs[int(handle.id)] = name
        return handle.id
