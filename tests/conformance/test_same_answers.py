"""Every store gives the reference's answers: random batches, right and wrong ones, compared commit by commit.

The reference applies units one after another; a store that groups their rows for speed must not differ from it in
what it accepts, in which unit it blames, or in what it holds afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from holdfast.errors import Conflict
from holdfast.model.address import Address
from holdfast.model.job import EndStart, FreshJob, JobDiscard, JobReplay
from holdfast.model.message import Consume, InboxRow, MessageRetry, Take, TimerCancel
from holdfast.model.unit import Row
from holdfast.ports.store import RunnerStore
from holdfast.storage.memory.store import MemoryStore

from .conftest import ManualClock, Place, commit
from .rows import DEAD, DONE, END, JOB, MESSAGE, REGISTRATION, RETRY, STATE, start

CARTS = [Address("Cart", name) for name in ("c-1", "c-2")]


def any_row(dice: random.Random) -> Row:
    """A row about one of so few things that batches often meet themselves."""
    number, cart = dice.randrange(1, 7), dice.choice(CARTS)
    key, name = dice.choice([None, None, "k"]), dice.choice([None, None, "tick"])
    expected = dice.randrange(2)
    return dice.choice(
        [
            MESSAGE._replace(id=number, entity_id=cart.entity_id, key=key, name=name, due_at=dice.choice([0, 100])),
            Consume(number),
            MessageRetry(deliveries=1, crashes=0, due_at=50, last_error="boom", id=number),
            TimerCancel(*cart, "tick"),
            DONE._replace(id=number, key=key),
            DEAD._replace(id=number),
            STATE._replace(entity_id=cart.entity_id, version=dice.randrange(1, 4), state=bytes([number])),
            InboxRow(number, 3, 1, b"row", 1_000),
            Take(number),
            JOB._replace(id=number, key=key, due_at=dice.choice([0, 100])),
            RETRY._replace(id=number, attempt=expected + dice.randrange(2), expected=expected),
            END._replace(id=number, expected=expected, state=dice.choice(["completed", "dead"])),
            FreshJob(number),
            JobReplay(50, number),
            JobDiscard(60, number),
            start(number, (number, 1)),
            EndStart(number),
        ]
    )


async def outcome(store: RunnerStore, batch: Sequence[tuple[Row, ...]]) -> int | None:
    """The unit to blame, or None when all was committed."""
    try:
        await commit(store, *batch)
    except Conflict as conflict:
        return conflict.unit_index
    return None


async def contents(store: RunnerStore) -> list[object]:
    found: list[object] = [await store.messages.state(cart) for cart in CARTS]
    found += await store.messages.pending(after=0, limit=99, due_before=1_000)
    found += await store.messages.dead(after=0, limit=99)
    found += await store.inbox_reader.inbox(limit=99)
    found += await store.jobs.starts()
    for number in range(1, 7):
        found += [await store.messages.done(number), await store.jobs.live(number), await store.jobs.archived(number)]
    found += [await store.messages.timer(cart, "tick") for cart in CARTS]
    found += [await store.messages.by_key(cart, "checkout", "k") for cart in CARTS]
    found += [await store.jobs.live_by_key("send_receipt", None, "k"), await store.ledger.ledger()]
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_a_store_answers_as_the_reference_does(
    store: RunnerStore, place: Place, clock: ManualClock, seed: int
) -> None:
    dice = random.Random(seed)
    reference = MemoryStore(clock=clock)
    await reference.membership.register(REGISTRATION)
    accepted = 0
    for _ in range(place.random_batches):
        batch = [tuple(any_row(dice) for _ in range(dice.randrange(1, 3))) for _ in range(dice.randrange(1, 4))]
        blamed = await outcome(reference, batch)
        assert await outcome(store, batch) == blamed, batch
        if blamed is None:
            accepted += 1
            assert await contents(store) == await contents(reference), batch
    assert accepted > place.random_batches / 13
    await reference.close()
