"""Lines: what a client sends durably stays in order, whatever happens to it on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from holdfast.errors import (
    EntityNotAssignedToRunner,
    HoldfastError,
    KeyConflict,
    PersistenceError,
    RpcClientError,
    RunnerUnavailable,
    SendTimeout,
)
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.model.address import Address
from holdfast.model.envelope import FOLLOWS, ONE_WAY, RETRY, Accepted, Call, Reply, Result
from holdfast.runtime.remote.lines import BATCH_MAX, LEFT, Lines
from holdfast.runtime.remote.links import Links
from holdfast.testing.loop import run

CART = Address("Cart", "c")
OTHER = Address("Cart", "o")
SHARD, OTHERS_SHARD = 1, 2


class FakePeer:
    """Keeps what it was sent until the test answers it."""

    def __init__(self) -> None:
        self.sent: list[Call] = []
        self._replies: list[asyncio.Future[Reply]] = []
        self.refusal: HoldfastError | None = None

    def call(self, call: Call) -> asyncio.Future[Reply]:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(call)
        self._replies.append(asyncio.get_running_loop().create_future())
        return self._replies[-1]

    @property
    def ids(self) -> list[int]:
        return [call.message_id for call in self.sent]

    def answer(self, place: int, error: HoldfastError | None = None) -> None:
        reply, call = self._replies[place], self.sent[place]
        if error is not None:
            reply.set_exception(error)
        elif call.flags & ONE_WAY:
            reply.set_result(Accepted(0, call.message_id, False))
        else:
            reply.set_result(Result(0, b"\xc0"))

    def lose(self) -> None:
        for reply in self._replies:
            if not reply.done():
                reply.set_exception(RpcClientError("the connection broke"))


class FakeLink:
    """A connection that the test makes and breaks."""

    def __init__(self) -> None:
        self.peer: FakePeer | None = FakePeer()
        self.unreachable = False
        self.why = "the test says so"

    @property
    def current(self) -> FakePeer | None:
        return self.peer

    def open(self) -> None:
        """It is open, or not, as the test says."""


class FakeLinks:
    """Leads everything over one link, and the entities of a shard that has moved over another one."""

    def __init__(self) -> None:
        self.link = FakeLink()
        self.moved: dict[int, FakeLink] = {}

    def toward(self, shard: int) -> FakeLink:
        return self.moved.get(shard, self.link)

    def astray(self) -> None:
        """The test says when the way has changed."""


class Rig:
    """Lines over a fake connection and a fake inbox."""

    def __init__(self) -> None:
        self.links = FakeLinks()
        self.link = self.links.link
        self.inbox: list[int] = []
        self.inbox_error: HoldfastError | None = None
        self.writes = 0
        self.dry = False
        self._next = 100
        self.wheel = DeadlineWheel(asyncio.get_running_loop())
        self.lines = Lines(
            links=cast(Links, self.links),
            shard_of=lambda _, entity_id: OTHERS_SHARD if entity_id == "o" else SHARD,
            leave=self._leave,
            writes=lambda: self.writes,
            ids=IdPool(self._allocate, block=10_000),
            wheel=self.wheel,
        )
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def peer(self) -> FakePeer:
        assert self.link.peer is not None
        return self.link.peer

    async def start(self) -> None:
        """The first message fetches ids; it is out of the way then."""
        task = self.send()
        await self.passes()
        self.peer.answer(0)
        await task
        self.peer.sent.clear()
        self.peer._replies.clear()

    def send(self, address: Address = CART, *, flags: int = ONE_WAY, timeout_s: float = 60.0) -> asyncio.Task[Any]:
        call = Call(0, *address, "note", b"", 0, flags=flags)
        task = asyncio.get_running_loop().create_task(self.lines.deliver(address, call, timeout_s))
        self._tasks.append(task)
        return task

    def lose(self) -> None:
        peer, self.link.peer = self.peer, None
        peer.lose()

    def connect(self) -> FakePeer:
        self.link.peer, self.link.unreachable = FakePeer(), False
        self.lines.changed()
        return self.peer

    def reach_nobody(self) -> None:
        self.link.unreachable = True
        self.lines.changed()

    async def passes(self, count: int = 8) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.lines.stop()
        self.wheel.close()

    def _leave(self, call: Call) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.inbox_error is not None:
            done.set_exception(self.inbox_error)
        else:
            self.inbox.append(call.message_id)
            self.writes += 1
            done.set_result(None)
        return done

    async def _allocate(self, count: int) -> int:
        first, self._next = self._next, self._next + count
        return first


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.start()
    yield rig
    await rig.close()


async def test_messages_of_one_pass_leave_together(rig: Rig) -> None:
    tasks = [rig.send() for _ in range(3)]
    await rig.passes(1)
    assert len(rig.peer.sent) == 3
    for place in range(3):
        rig.peer.answer(place)
    assert [reply.message_id for reply in await asyncio.gather(*tasks)] == sorted(rig.peer.ids)


async def test_a_line_that_nobody_is_in_any_more_does_not_end_the_one_that_took_its_place(rig: Rig) -> None:
    """Two senders give up in one pass, and a third one sends between their last steps."""
    rig.link.peer = None
    given_up = rig.send(), rig.send()
    await rig.passes()
    rig.link.peer = peer = FakePeer()
    given_up[0].cancel()
    rig.send()
    given_up[1].cancel()
    await rig.passes()
    assert len(peer.ids) == 1
    rig.send()
    await rig.passes()
    assert len(peer.ids) == 1, "it overtakes the one before it where that is refused"
    peer.answer(0)
    await rig.passes()
    assert peer.ids == sorted(peer.ids) and len(peer.ids) == 2


async def test_later_messages_wait_until_the_batch_is_answered(rig: Rig) -> None:
    rig.send(), rig.send()
    await rig.passes()
    rig.send()
    await rig.passes()
    rig.peer.answer(0)
    await rig.passes()
    assert len(rig.peer.sent) == 2
    rig.peer.answer(1)
    await rig.passes()
    assert len(rig.peer.sent) == 3


async def test_what_is_sent_behind_an_unanswered_message_says_so(rig: Rig) -> None:
    """A runner that refused the first refuses the others too; sent again, they are marked by their new places."""
    for _ in range(3):
        rig.send()
    await rig.passes()
    assert [bool(call.flags & FOLLOWS) for call in rig.peer.sent] == [False, True, True]
    rig.peer.answer(0)
    await rig.passes()
    rig.lose()
    await rig.passes()
    peer = rig.connect()
    await rig.passes()
    assert [bool(call.flags & FOLLOWS) for call in peer.sent] == [False, True]


async def test_entities_do_not_wait_for_each_other(rig: Rig) -> None:
    rig.send(CART)
    await rig.passes()
    rig.send(OTHER)
    await rig.passes()
    assert len(rig.peer.sent) == 2


async def test_a_batch_has_a_bound(rig: Rig) -> None:
    for _ in range(BATCH_MAX + 1):
        rig.send()
    await rig.passes()
    assert len(rig.peer.sent) == BATCH_MAX


async def test_after_a_loss_all_are_sent_again_in_order_with_their_ids_and_marked(rig: Rig) -> None:
    rig.send(flags=0), rig.send(), rig.send(flags=0)
    await rig.passes()
    before, later = rig.peer.ids, rig.send()
    await rig.passes()
    rig.lose()
    await rig.passes()
    peer = rig.connect()
    await rig.passes()
    assert peer.ids[:3] == before
    assert [bool(call.flags & RETRY) for call in peer.sent] == [True, True, True, False]
    assert peer.ids[3] > before[-1]
    assert not later.done()


async def test_what_was_answered_before_the_loss_is_not_sent_again(rig: Rig) -> None:
    first, second = rig.send(), rig.send()
    await rig.passes()
    rig.peer.answer(0)
    await rig.passes()
    rig.lose()
    await rig.passes()
    peer = rig.connect()
    assert (await first).message_id not in peer.ids
    assert len(peer.sent) == 1
    peer.answer(0)
    assert (await second).message_id == peer.ids[0]


def test_a_refusal_for_now_is_tried_again_after_a_pause() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.start()
        task = rig.send()
        await rig.passes()
        rig.peer.answer(0, RunnerUnavailable("starting"))
        await rig.passes()
        assert len(rig.peer.sent) == 1, "the runner was asked again at once"
        await until(lambda: len(rig.peer.sent) == 2)
        rig.peer.answer(1)
        assert (await task).message_id == rig.peer.ids[0] == rig.peer.ids[1]
        await rig.close()

    run(main(), seed=None)


async def test_a_refusal_for_good_is_the_senders_and_the_next_goes_on(rig: Rig) -> None:
    conflict = rig.send()
    await rig.passes()
    rig.send()
    await rig.passes()
    rig.peer.answer(0, KeyConflict("used"))
    with pytest.raises(KeyConflict):
        await conflict
    await rig.passes()
    assert len(rig.peer.sent) == 2


async def test_without_a_runner_one_way_messages_go_into_the_inbox_in_order(rig: Rig) -> None:
    rig.lose()
    rig.link.unreachable = True
    tasks = [rig.send() for _ in range(5)]
    assert await asyncio.gather(*tasks) == [LEFT] * 5
    assert rig.inbox == sorted(rig.inbox)
    assert len(rig.inbox) == 5


async def test_while_a_runner_is_looked_for_messages_wait(rig: Rig) -> None:
    rig.lose()
    task = rig.send()
    await rig.passes()
    assert not task.done()
    rig.reach_nobody()
    assert await task is LEFT


async def test_a_message_that_had_left_goes_into_the_inbox_under_its_id(rig: Rig) -> None:
    task = rig.send()
    await rig.passes()
    (number,) = rig.peer.ids
    rig.lose()
    await rig.passes()
    rig.reach_nobody()
    assert await task is LEFT
    assert rig.inbox == [number]


async def test_a_message_with_a_reply_is_not_left_and_holds_its_line(rig: Rig) -> None:
    rig.lose()
    rig.link.unreachable = True
    first, call, last = rig.send(), rig.send(flags=0), rig.send()
    await rig.passes()
    assert await first is LEFT
    assert not call.done()
    assert not last.done()
    peer = rig.connect()
    assert len(peer.sent) == 2
    peer.answer(0), peer.answer(1)
    await asyncio.gather(call, last)


async def test_after_the_inbox_direct_messages_name_the_last_one_left_until_one_is_answered(rig: Rig) -> None:
    rig.lose()
    rig.link.unreachable = True
    await asyncio.gather(rig.send(), rig.send())
    peer = rig.connect()
    rig.send(), rig.send(), rig.send(OTHER)
    await rig.passes()
    assert [call.after for call in peer.sent] == [rig.inbox[-1], rig.inbox[-1], 0]
    peer.answer(0), peer.answer(1)
    await rig.passes()
    rig.send()
    await rig.passes()
    assert peer.sent[-1].after == 0


async def test_only_what_was_left_before_the_question_counts_as_taken(rig: Rig) -> None:
    rig.lose()
    rig.link.unreachable = True
    await rig.send()
    asked_at = rig.writes
    await rig.send(OTHER)
    peer = rig.connect()
    rig.lines.inbox_taken({SHARD}, asked_at)
    rig.send(CART), rig.send(OTHER)
    await rig.passes()
    assert [call.after for call in peer.sent] == [0, rig.inbox[1]]


async def test_an_inbox_that_refuses_is_the_senders_error(rig: Rig) -> None:
    rig.lose()
    rig.link.unreachable = True
    rig.inbox_error = PersistenceError("busy")
    with pytest.raises(PersistenceError):
        await rig.send()
    rig.inbox_error = None
    assert await rig.send() is LEFT


async def test_the_deadline_without_a_runner_says_not_executed(rig: Rig) -> None:
    rig.lose()
    rig.link.unreachable = True
    with pytest.raises(RunnerUnavailable) as raised:
        await rig.send(flags=0, timeout_s=0.02)
    assert raised.value.executed == "no"


async def test_the_deadline_of_a_message_that_had_left_says_unknown(rig: Rig) -> None:
    task = rig.send(flags=0, timeout_s=0.5)
    await rig.passes()
    rig.lose()
    with pytest.raises(SendTimeout) as raised:
        await task
    assert raised.value.executed == "unknown"


async def test_what_waits_behind_a_call_that_gave_up_goes_on(rig: Rig) -> None:
    rig.lose()
    rig.link.unreachable = True
    call, behind = rig.send(flags=0, timeout_s=0.02), rig.send()
    with pytest.raises(RunnerUnavailable):
        await call
    assert await behind is LEFT


async def test_a_cancelled_sender_leaves_its_line_to_the_others(rig: Rig) -> None:
    first = rig.send()
    await rig.passes()
    waiting, last = rig.send(), rig.send()
    await rig.passes()
    waiting.cancel()
    first.cancel()
    await rig.passes()
    assert len(rig.peer.sent) == 2
    rig.peer.answer(1)
    await last


async def test_a_sender_cancelled_in_the_pass_in_which_it_was_sent_does_not_block_its_line(rig: Rig) -> None:
    rig.send()
    await rig.passes()
    waiting = rig.send()
    await rig.passes()
    rig.peer.answer(0)
    while len(rig.peer.sent) < 2:  # noqa: ASYNC110 - the very pass matters here
        await asyncio.sleep(0)
    waiting.cancel()
    await rig.passes()
    rig.send()
    await rig.passes()
    assert len(rig.peer.sent) == 3


async def test_idle_lines_are_forgotten(rig: Rig) -> None:
    tasks = [rig.send(Address("Cart", str(number))) for number in range(50)]
    await rig.passes()
    for place in range(50):
        rig.peer.answer(place)
    await asyncio.gather(*tasks)
    assert not rig.lines._lines


async def test_lines_that_left_something_are_forgotten_once_it_is_taken(rig: Rig) -> None:
    rig.lose()
    rig.link.unreachable = True
    await asyncio.gather(*(rig.send(Address("Cart", str(number))) for number in range(50)))
    rig.connect()
    rig.lines.inbox_taken({SHARD}, rig.writes)
    assert not rig.lines._lines


async def test_a_line_follows_its_entity_with_the_same_ids_and_in_order(rig: Rig) -> None:
    tasks = [rig.send() for _ in range(3)]
    await rig.passes()
    ids = rig.peer.ids
    later = rig.send()
    rig.links.moved[SHARD] = elsewhere = FakeLink()
    assert elsewhere.peer is not None
    for place in range(3):
        rig.peer.answer(place, EntityNotAssignedToRunner("moved"))
    await until(lambda: len(elsewhere.peer.sent) >= 4)
    assert elsewhere.peer.ids[:3] == ids
    assert elsewhere.peer.ids[3] > ids[-1]
    for place in range(4):
        elsewhere.peer.answer(place)
    assert [reply.message_id for reply in await asyncio.gather(*tasks, later)] == elsewhere.peer.ids


async def test_what_another_shards_owner_took_from_the_inbox_does_not_count(rig: Rig) -> None:
    rig.lose()
    rig.reach_nobody()
    assert await rig.send() is LEFT
    rig.connect()
    rig.lines.inbox_taken({OTHERS_SHARD}, rig.writes)
    rig.send()
    await rig.passes()
    assert rig.peer.sent[0].after == rig.inbox[0]


async def test_a_line_whose_owner_is_lost_does_not_hold_up_the_others(rig: Rig) -> None:
    rig.links.moved[OTHERS_SHARD] = lost = FakeLink()
    lost.peer, lost.unreachable = None, False
    stalled = rig.send(OTHER)
    answered = rig.send(CART)
    await rig.passes()
    rig.peer.answer(0)
    assert isinstance(await answered, Accepted)
    assert not stalled.done()
    lost.unreachable = True
    rig.lines.changed()
    assert await stalled is LEFT


async def until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not seen():  # noqa: ASYNC110 - the pause after a refusal is a timer of the lines
            await asyncio.sleep(0.005)
