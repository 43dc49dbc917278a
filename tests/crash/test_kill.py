"""Kill -9, a hundred times: nothing acknowledged is lost, no committed effect is repeated.

A runner in a process of its own serves clients of this process, which never stop sending; it is killed at random
moments and started anew on the same file. `HOLDFAST_KILLS` sets how often, `HOLDFAST_SEED` repeats the moments.
"""

from __future__ import annotations

import asyncio
import collections
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from holdfast import MessageError
from holdfast.storage.open import open_client_store
from tests.crash.program import LISTS, Journal, Mirror, app, note
from tests.support.nursery import Nursery

KILLS = int(os.environ.get("HOLDFAST_KILLS", "100"))
SEED = int(os.environ.get("HOLDFAST_SEED", str(random.randrange(2**32))))
SENDERS_OF_EACH_KIND = 3
ACKNOWLEDGED_BETWEEN_KILLS = 10
MOMENT_S_MAX = 0.03
CONTROL_KILLS = 8
CONTROL_ATTEMPTS = 6
"""A mistake shows only where a kill hits its moment; the first attempt that shows it is the last."""
CONTROL_PATIENCE_S = 10.0
"""A broken runner may leave what never ends: how long that is waited for. What ends, ends within a second."""
PATIENCE_S = 120.0


class Killed:
    """A runner process that is killed and comes back."""

    def __init__(self, store: str, *broken: str) -> None:
        self._arguments = (store, *broken)
        self._process: Nursery | None = None

    async def start(self) -> None:
        process = Nursery.of("tests.crash.program")
        process.bear(*self._arguments)
        self._process = process
        line = await asyncio.to_thread(process.line)
        assert line == "serving", f"the runner did not start: {line!r}"

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.ended)


class Ledger:
    """What was acknowledged, by the one who heard it."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, list[str]] = collections.defaultdict(list)
        self._count = 0
        self._enough: tuple[int, asyncio.Event] = (0, asyncio.Event())

    def add(self, kind: str, operation: str) -> None:
        self.acknowledged[kind].append(operation)
        self._count += 1
        wanted, event = self._enough
        if self._count >= wanted:
            event.set()

    async def more(self, count: int) -> None:
        """Returns once so many more operations were acknowledged."""
        event = asyncio.Event()
        self._enough = (self._count + count, event)
        await asyncio.wait_for(event.wait(), PATIENCE_S)


async def send_for_ever(kind: str, ledger: Ledger, send: Callable[[str], Awaitable[object]], name: str) -> None:
    """One operation after the other. One whose outcome is not known is sent again under its id, where that is safe."""
    number = 0
    while True:
        number += 1
        operation = f"{kind}-{name}-{number}"
        while True:
            try:
                await send(operation)
            except (MessageError, TimeoutError):
                if kind == "volatile":
                    break
            else:
                if kind != "job":
                    ledger.add(kind, operation)
                break
            await asyncio.sleep(0)


def journal_of(operation: str) -> Journal:
    return app.ref(Journal, f"list-{sum(operation.encode()) % LISTS}")


@pytest.mark.slow
async def test_a_runner_killed_a_hundred_times_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Every acknowledged operation is there once, every other one at most once."""
    await kill_and_check(f"sqlite:///{tmp_path}/crash.db", kills=KILLS)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["ack-before-commit", "no-idempotency"])
async def test_the_crash_test_catches_a_broken_runner(tmp_path: Path, broken: str) -> None:
    """The positive control: what a runner does wrong on purpose is found."""
    with pytest.raises(AssertionError, match=r"lost|repeated|disagree|still to be done"):
        for attempt in range(CONTROL_ATTEMPTS):
            store = f"sqlite:///{tmp_path}/control-{attempt}.db"
            await kill_and_check(store, broken, kills=CONTROL_KILLS, patience_s=CONTROL_PATIENCE_S)


async def kill_and_check(store: str, *broken: str, kills: int, patience_s: float = PATIENCE_S) -> None:
    rng, ledger, runner = random.Random(SEED), Ledger(), Killed(store, *broken)

    async def submit(operation: str) -> None:
        job = await note.opts(key=operation).submit(operation)
        ledger.add("job", operation)
        await job.result(timeout=PATIENCE_S)

    kinds: dict[str, Callable[[str], Awaitable[object]]] = {
        "quick": lambda operation: journal_of(operation).append(operation),
        "slow": lambda operation: journal_of(operation).append_slowly(operation),
        "sent": lambda operation: journal_of(operation).append.send(operation),
        "volatile": lambda operation: journal_of(operation).append_volatile(operation),
        "job": submit,
    }
    try:
        await runner.start()
        async with app.client(store=store):
            await send_through_kills(runner, ledger, kinds, rng, kills)
    finally:
        await runner.kill()
    await check(ledger, store, patience_s)


async def send_through_kills(
    runner: Killed, ledger: Ledger, kinds: dict[str, Callable[[str], Awaitable[object]]], rng: random.Random, kills: int
) -> None:
    senders = [
        asyncio.create_task(send_for_ever(kind, ledger, send, str(number)))
        for kind, send in kinds.items()
        for number in range(SENDERS_OF_EACH_KIND)
    ]
    try:
        for _ in range(kills):
            await ledger.more(ACKNOWLEDGED_BETWEEN_KILLS)
            await asyncio.sleep(rng.uniform(0, MOMENT_S_MAX))  # the fault's moment, not a wait for something
            await runner.kill()
            await runner.start()
        await ledger.more(ACKNOWLEDGED_BETWEEN_KILLS)
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)


async def everything_ended(url: str, patience_s: float) -> None:
    """Returns once nothing that the store accepted is still to be done. Each look takes its time, in a thread."""
    store = await open_client_store(url)
    give_up_at = asyncio.get_running_loop().time() + patience_s
    try:
        while True:
            ledger = await store.ledger.ledger()
            to_do = sum(jobs.live for jobs in ledger.jobs) + sum(each.pending for each in ledger.messages)
            if not to_do and not ledger.inbox:
                return
            assert asyncio.get_running_loop().time() < give_up_at, f"seed {SEED}: still to be done: {ledger}"
    finally:
        await store.close()


async def check(ledger: Ledger, store: str, patience_s: float) -> None:
    """Takes the store over, lets all that was accepted end, and compares."""
    async with app.runner(store=store):
        await everything_ended(store, patience_s)
        journals = [await app.ref(Journal, f"list-{number}").operations() for number in range(LISTS)]
        mirrors = [await app.ref(Mirror, f"list-{number}").operations() for number in range(LISTS)]
        notes = await app.ref(Journal, "reader").notes()
    done = counted(journals)
    for kind in ("quick", "slow", "sent", "volatile"):
        missing = [operation for operation in ledger.acknowledged[kind] if operation not in done]
        assert not missing, f"seed {SEED}: acknowledged and lost: {missing}"
    assert_once("journal", done)
    assert_once("mirror", counted(mirrors))
    assert_once("notes", counted([notes]))
    slow = {operation for operation in done if operation.startswith("slow")}
    assert set(counted(mirrors)) == slow, f"seed {SEED}: the outbox and its handler's state disagree"
    jobs = set(counted([notes]))
    assert slow <= jobs, f"seed {SEED}: jobs submitted by handlers and lost: {slow - jobs}"
    lost = set(ledger.acknowledged["job"]) - jobs
    assert not lost, f"seed {SEED}: jobs acknowledged and lost: {lost}"


def counted(lists: Iterable[Iterable[str]]) -> collections.Counter[str]:
    return collections.Counter(operation for operations in lists for operation in operations)


def assert_once(where: str, operations: collections.Counter[str]) -> None:
    doubled = {operation: count for operation, count in operations.items() if count > 1}
    assert not doubled, f"seed {SEED}: repeated in {where}: {doubled}"
