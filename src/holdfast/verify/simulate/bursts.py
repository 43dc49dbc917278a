"""Bursts: durable messages of one sender to one entity that do not wait for each other.

They are where order is hard to keep: while one of them is refused, looked up, or lost with its connection, those sent
behind it are on their way.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count

from holdfast.entities.door import Receipt
from holdfast.errors import MessageError
from holdfast.runtime.app import App

from .answers import known
from .plan import Step
from .town import Roll


@dataclass
class Sent:
    """What one sender sent to one roll."""

    lines: list[str] = field(default_factory=list[str])
    """In the order sent."""
    sure: set[str] = field(default_factory=set[str])
    """Acknowledged."""
    at_once: set[str] = field(default_factory=set[str])
    """Acknowledged at the first try."""


async def send_burst(app: App, step: Step, sent: Sent) -> list[Receipt[None]]:
    """Sends wave after wave, and returns when the outcome of each message is known. Raises NoAnswer.

    What has no key is tried once: its sender may not learn whether it was taken.
    """
    roll, waves, gap_s, keyed = step.args
    numbers, receipts = count(), list[Receipt[None]]()

    async def send() -> None:
        line, tries = f"b{step.number}-{next(numbers)}", count()  # numbered only now: tasks begin in any order
        append = app.ref(Roll, roll).append.opts(key=line if keyed else None)
        sent.lines.append(line)

        async def once() -> Receipt[None]:
            next(tries)
            return await append.send(line)

        try:
            receipts.append(await (known(step, once) if keyed else once()))
        except MessageError:
            return
        sent.sure.add(line)
        if next(tries) == 1:
            sent.at_once.add(line)

    async with asyncio.TaskGroup() as group:
        for size in waves:
            for _ in range(size):
                group.create_task(send())
            await asyncio.sleep(gap_s)
    return receipts
