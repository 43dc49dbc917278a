"""What a runner answers to peers that ask for nonsense: an error by its name, and the connection lives."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast import App, Entity, message, stream
from holdfast.entities.door import Link
from holdfast.errors import (
    CallCircle,
    EntityNotAssignedToRunner,
    HoldfastError,
    KeyConflict,
    MalformedMessage,
    PersistenceError,
    RpcClientError,
    RunnerUnavailable,
    SerializationError,
)
from holdfast.kit.clock import SystemClock
from holdfast.model.address import Address
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.envelope import FOLLOWS, RETRY, Call, Request, Result, StreamOpen
from holdfast.model.message import StateRow
from holdfast.model.unit import Unit
from holdfast.ports.transport import Identity, Incoming, Peer
from holdfast.runtime import questions
from holdfast.runtime.node import Node
from holdfast.runtime.questions import Moved, pack, unpack
from holdfast.runtime.runner import Runner
from holdfast.runtime.serving.front import Front
from holdfast.runtime.serving.here import Here
from holdfast.runtime.serving.inbound import Conversation
from holdfast.settings import EntitySettings, Settings
from holdfast.storage.memory.journal import StorageFaults
from holdfast.storage.memory.store import CLUSTER_ID, MemoryStore
from holdfast.transport import MemoryNetwork

ADDRESS = "memory:runner"
SECOND_US = 1_000_000
ONE = b"\x91\x01"
"""The arguments (1,) as they travel."""

app = App("shop", settings=Settings(entities=EntitySettings(payload_bytes_max=1000)))


@app.entity
class Counter(Entity[dict[str, int]]):
    def initial(self) -> dict[str, int]:
        return {"value": 0}

    @message
    async def add(self, by: int) -> int:
        self.state["value"] += by
        return self.state["value"]

    @message(durable=True)
    async def add_durably(self, by: int) -> int:
        return await self.add(by)

    @stream
    async def upto(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number


class Silent:
    """A peer that hears what it is told and never answers."""

    def __init__(self) -> None:
        self.heard: list[Incoming] = []

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        self.heard += batch

    def on_lost(self, peer: Peer) -> None:
        pass


class Served:
    """A runner that listens on a network in memory, and a peer of it."""

    def __init__(self, faults: StorageFaults | None = None) -> None:
        self.network = MemoryNetwork()
        self.store = MemoryStore(clock=SystemClock(), faults=faults)
        self.front = Front(
            network=self.network.node("runner"),
            address=ADDRESS,
            store=self.store,
            settings=app.settings,
            software="test",
        )

    async def peer(self) -> Peer:
        return await self.network.node("client").connect(ADDRESS, identity=Identity(CLUSTER_ID), inbound=Silent())

    @asynccontextmanager
    async def runs(self) -> AsyncGenerator[None]:
        async with app.opened(self._open):
            yield

    async def _open(self, link: Link) -> Node:
        runner = Runner(
            store=self.store,
            entity_types=app.entity_types,
            job_types=app.job_types,
            orders=app.orders,
            link=link,
            settings=app.settings,
            metrics=app.metrics,
            clock=SystemClock(),
            rng=random.Random(0),
            front=self.front,
        )
        await runner.start()
        return runner


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    served = Served()
    async with served.runs():
        peer = await served.peer()
        yield peer
        assert await payload_of(peer, call()) == b"\x01", "the connection does not live"
        peer.close()
        await peer.closed()


def call(**changes: Any) -> Call:
    facts: dict[str, Any] = {
        "correlation": 0,
        "entity_type": "Counter",
        "entity_id": "last",
        "method": "add",
        "payload": ONE,
        "timeout_us": 5 * SECOND_US,
    }
    return Call(**(facts | changes))


async def payload_of(peer: Peer, asking: Call | Request) -> bytes:
    reply = await peer.call(asking)
    assert isinstance(reply, Result), reply
    return reply.payload


NONSENSE: dict[str, tuple[Call, type[HoldfastError], str]] = {
    "an unknown type": (call(entity_type="Nobody"), MalformedMessage, "Nobody"),
    "an unknown message": (call(method="nothing"), MalformedMessage, "Counter.nothing"),
    "a durable message without an id": (call(method="add_durably"), MalformedMessage, "durable"),
    "a volatile message with an id": (call(message_id=7), MalformedMessage, "not durable"),
    "a stream as a call": (call(method="upto"), MalformedMessage, "stream"),
    "too much payload": (call(payload=b"\x00" * 1001), MalformedMessage, "1001 bytes"),
    "a payload that can't be read": (call(payload=b"\xc1"), MalformedMessage, "add"),
    "arguments of another type": (call(payload=b"\x91\xa1x"), MalformedMessage, "by"),
    "durable arguments of another type": (
        call(method="add_durably", message_id=7, payload=b"\x91\xa1x"),
        MalformedMessage,
        "by",
    ),
    "no entity id": (call(entity_id=""), MalformedMessage, "entity id"),
    "no entity id, durably": (call(entity_id="", method="add_durably", message_id=7), MalformedMessage, "entity id"),
    "a circle": (call(entity_id="c", chain=(Address("Counter", "c"),)), CallCircle, "Counter/c"),
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_is_answered_by_a_named_error_and_the_connection_lives(peer: Peer, what: str) -> None:
    asked, error, text = NONSENSE[what]
    with pytest.raises(error, match=text):
        await peer.call(asked)


async def test_an_unknown_service_is_answered_by_a_named_error(peer: Peer) -> None:
    with pytest.raises(MalformedMessage, match="no service 'tea'"):
        await peer.call(Request(0, "tea", b"", SECOND_US))


@pytest.mark.parametrize(
    "service",
    [
        questions.SUBMIT_JOBS,
        questions.JOB_STATUS,
        questions.BROADCAST,
        questions.MESSAGE_OUTCOME,
        questions.ALLOCATE_IDS,
    ],
)
async def test_a_question_that_cant_be_read_is_answered_by_a_named_error(peer: Peer, service: str) -> None:
    with pytest.raises(SerializationError):
        await peer.call(Request(0, service, b"\xc1", SECOND_US))


async def test_a_call_as_a_stream_is_answered_by_a_named_error(peer: Peer) -> None:
    with pytest.raises(MalformedMessage, match="stream"):
        await anext(peer.stream(StreamOpen(0, "Counter", "c", "add", ONE, 4)))


async def test_a_retried_id_is_handled_once_and_answered_again(peer: Peer) -> None:
    first = call(method="add_durably", entity_id="once", message_id=2**40)
    again = call(method="add_durably", entity_id="once", message_id=2**40, flags=RETRY)
    assert await payload_of(peer, first) == await payload_of(peer, again) == b"\x01"


async def test_a_message_that_ends_while_its_retry_is_looked_up_is_not_handled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two lines of one sender: what the store said to the retry is old when the first try has come in and ended."""
    served = Served()
    asked, gate, reader = asyncio.Event(), asyncio.Event(), type(served.store.messages)
    by_id = reader.by_id

    async def slowly(self: Any, message_id: int) -> Any:
        found = await by_id(self, message_id)
        asked.set()
        await gate.wait()
        return found

    monkeypatch.setattr(reader, "by_id", slowly)
    facts: dict[str, Any] = {"method": "add_durably", "entity_id": "raced", "message_id": 2**41}
    async with served.runs():
        old, new = await served.peer(), await served.peer()
        retried = asyncio.ensure_future(payload_of(new, call(**facts, flags=RETRY)))
        await asyncio.wait_for(asked.wait(), 20)
        assert await payload_of(old, call(**facts)) == b"\x01"
        gate.set()
        assert await retried == b"\x01"
        assert await payload_of(old, call(entity_id="raced")) == b"\x02"
        for peer in (old, new):
            peer.close()
            await peer.closed()


async def test_what_was_sent_behind_a_refused_message_is_refused_too(peer: Peer) -> None:
    """It could come in by now, because the runner has become the owner meanwhile, and would be first then."""

    def durable(**changes: Any) -> Call:
        return call(method="add_durably", **changes)

    conversation = Conversation(peer)
    conversation.note_refusal("Counter", "last", EntityNotAssignedToRunner("not yet"))
    with pytest.raises(EntityNotAssignedToRunner):
        conversation.arrives(durable(message_id=8, flags=FOLLOWS))
    conversation.arrives(durable(message_id=8, flags=FOLLOWS, entity_id="other"))
    conversation.arrives(durable(message_id=7, flags=RETRY))
    conversation.arrives(durable(message_id=8, flags=FOLLOWS | RETRY))


async def test_a_refusal_is_remembered_as_long_as_something_behind_it_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refused one comes again, and waits behind that, which must not come in first."""
    disk = Refusing()
    served = Served(disk.faults)
    asked, gate, reader = asyncio.Event(), asyncio.Event(), type(served.store.messages)
    by_id = reader.by_id

    async def slowly(self: Any, message_id: int) -> Any:
        asked.set()
        await gate.wait()
        return await by_id(self, message_id)

    monkeypatch.setattr(reader, "by_id", slowly)
    facts: dict[str, Any] = {"method": "add_durably", "entity_id": "remembered"}
    async with served.runs():
        peer = await served.peer()
        writing = await served.store.journal.begin(timeout_s=20)
        first = asyncio.ensure_future(payload_of(peer, call(**facts, message_id=2**46)))
        behind = asyncio.ensure_future(payload_of(peer, call(**facts, message_id=2**46 + 1, flags=FOLLOWS | RETRY)))
        await asyncio.wait_for(asked.wait(), 20)
        disk.left = 1
        await writing.rollback()
        with pytest.raises(PersistenceError):
            await first
        behind.cancel()
        again = asyncio.ensure_future(payload_of(peer, call(**facts, message_id=2**46, flags=RETRY)))
        await _heard(peer)
        gate.set()
        assert await again == b"\x01"
        peer.close()
        await peer.closed()


class Refusing:
    """A disk that refuses the next commits of entities."""

    def __init__(self) -> None:
        self.left = 0
        self.faults = StorageFaults(before_commit=self._before)

    def _before(self, units: Sequence[Unit]) -> None:
        if self.left and any(isinstance(row, StateRow) for unit in units for row in unit.rows):
            self.left -= 1
            raise PersistenceError("the disk refuses")


async def test_what_came_behind_a_message_whose_commit_failed_goes_back_with_it() -> None:
    """The answer may be lost on the way: then the first comes again, and must not find the others done."""
    disk = Refusing()
    served = Served(disk.faults)

    def burst(flags: int) -> list[Call]:
        facts: dict[str, Any] = {"method": "add_durably", "entity_id": "burst"}
        return [call(message_id=2**42 + n, flags=flags | (FOLLOWS if n else 0), **facts) for n in range(4)]

    async with served.runs():
        peer = await served.peer()
        assert await payload_of(peer, call(entity_id="burst")) == b"\x01"
        disk.left = 2  # all of them together, then the first alone
        answers = await asyncio.gather(*(peer.call(one) for one in burst(0)), return_exceptions=True)
        assert [type(one) for one in answers] == [PersistenceError, *[EntityNotAssignedToRunner] * 3]
        again = await asyncio.gather(*(payload_of(peer, one) for one in burst(RETRY)))
        assert again == [b"\x02", b"\x03", b"\x04", b"\x05"]
        peer.close()
        await peer.closed()


async def _heard(peer: Peer) -> None:
    """Returns when the runner has heard what was sent over this line before."""
    with pytest.raises(MalformedMessage):
        await peer.call(call(method="unheard_of"))


@pytest.mark.parametrize("lost", [False, True])
async def test_a_message_that_is_looked_up_while_the_one_before_it_is_refused_stays_out(
    monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Also where nobody hears of the refusal, since the connection is gone by then."""
    disk = Refusing()
    served = Served(disk.faults)
    asked, gate, reader = asyncio.Event(), asyncio.Event(), type(served.store.messages)
    by_id = reader.by_id

    async def slowly(self: Any, message_id: int) -> Any:
        asked.set()
        await gate.wait()
        return await by_id(self, message_id)

    monkeypatch.setattr(reader, "by_id", slowly)
    facts: dict[str, Any] = {"method": "add_durably", "entity_id": "looked up"}
    async with served.runs():
        peer = await served.peer()
        writing = await served.store.journal.begin(timeout_s=20)
        first = asyncio.ensure_future(payload_of(peer, call(**facts, message_id=2**44)))
        behind = asyncio.ensure_future(payload_of(peer, call(**facts, message_id=2**44 + 1, flags=FOLLOWS | RETRY)))
        await asyncio.wait_for(asked.wait(), 20)
        if lost:
            peer.close()
            await peer.closed()
            peer = await served.peer()
        disk.left = 1
        await writing.rollback()
        answers = await asyncio.gather(first, return_exceptions=True)
        gate.set()
        answers += await asyncio.gather(behind, return_exceptions=True)
        told = [RpcClientError] * 2 if lost else [PersistenceError, EntityNotAssignedToRunner]
        assert [type(one) for one in answers] == told
        again = [call(**facts, message_id=2**44 + n, flags=RETRY | (FOLLOWS if n else 0)) for n in range(2)]
        assert await asyncio.gather(*(payload_of(peer, one) for one in again)) == [b"\x01", b"\x02"]
        peer.close()
        await peer.closed()


async def test_what_a_lost_connection_brought_behind_a_refused_message_goes_back_too() -> None:
    """Its sender is about to send all of it again over another one, where that has come for the first part."""
    disk = Refusing()
    served = Served(disk.faults)

    def burst(flags: int, count: int) -> list[Call]:
        facts: dict[str, Any] = {"method": "add_durably", "entity_id": "reconnected"}
        return [call(message_id=2**45 + n, flags=flags | (FOLLOWS if n else 0), **facts) for n in range(count)]

    async with served.runs():
        old, new = await served.peer(), await served.peer()
        writing = await served.store.journal.begin(timeout_s=20)
        lost = asyncio.gather(*(old.call(one) for one in burst(0, 3)), return_exceptions=True)
        await _heard(old)
        old.close()
        await old.closed()
        await lost
        attached = asyncio.gather(*(new.call(one) for one in burst(RETRY, 2)), return_exceptions=True)
        await _heard(new)
        disk.left = 2  # all of them together, then the first alone
        await writing.rollback()
        assert [type(one) for one in await attached] == [PersistenceError, EntityNotAssignedToRunner]
        again = await asyncio.gather(*(payload_of(new, one) for one in burst(RETRY, 3)))
        assert again == [b"\x01", b"\x02", b"\x03"]
        new.close()
        await new.closed()


async def test_who_else_sends_to_the_entity_is_not_refused_with_them() -> None:
    disk = Refusing()
    served = Served(disk.faults)
    async with served.runs():
        peers = [await served.peer(), await served.peer()]
        assert await payload_of(peers[0], call(entity_id="shared")) == b"\x01"
        disk.left = 2
        asked = [call(method="add_durably", entity_id="shared", message_id=2**43 + n) for n in range(2)]
        answers = await asyncio.gather(*map(payload_of, peers, asked), return_exceptions=True)
        assert sorted(type(one).__name__ for one in answers) == ["PersistenceError", "bytes"]
        for peer in peers:
            peer.close()
            await peer.closed()


async def test_an_error_that_is_final_holds_nobody_up(peer: Peer) -> None:
    """Its sender does not send it again, so there is no place to keep."""
    conversation = Conversation(peer)
    conversation.note_refusal("Counter", "last", KeyConflict("another payload"))
    conversation.arrives(call(method="add_durably", message_id=8, flags=FOLLOWS))


async def test_the_inbox_of_a_shard_that_is_not_served_is_not_said_to_be_taken(peer: Peer) -> None:
    """Who hears that it was taken sends past it from then on."""

    def asking(*shards: int) -> Request:
        return Request(0, questions.TAKE_INBOX, pack(questions.AskTaking(5, list(shards))), 5 * SECOND_US)

    assert isinstance(await peer.call(asking(0, 1)), Result)
    with pytest.raises(EntityNotAssignedToRunner):
        await peer.call(asking(0, 4711))


async def test_before_it_serves_a_runner_refuses_as_not_executed() -> None:
    served = Served()
    await served.front.listen()
    peer = await served.peer()
    with pytest.raises(RunnerUnavailable, match="starting") as raised:
        await peer.call(call())
    assert raised.value.executed == "no"
    peer.close()
    await peer.closed()
    await served.front.close()
    await served.store.close()


async def test_a_peer_that_is_lost_takes_its_waiting_calls_along() -> None:
    served = Served()
    async with served.runs():
        peer = await served.peer()
        pending = peer.stream(StreamOpen(0, "Counter", "c", "upto", b"\x91\xcd\x03\xe8", 1))
        assert await anext(pending) == b"\x00"
        served.network.cut("client", "runner")
        await peer.closed()
        async with asyncio.timeout(30):
            while served.front._serving._conversations:  # noqa: ASYNC110 - nobody tells when a peer is forgotten
                await asyncio.sleep(0)


async def test_a_runner_whose_lease_has_lapsed_says_nothing_and_ends_the_connection() -> None:
    served, lapsed = Served(), False
    await served.front.listen(lapsed=lambda: lapsed)
    peer = await served.peer()
    with pytest.raises(RunnerUnavailable, match="starting"):
        await peer.call(call())
    lapsed = True
    with pytest.raises(RpcClientError) as raised:
        await peer.call(call())
    assert raised.value.executed == "unknown"
    await peer.closed()
    await served.front.close()
    await served.store.close()


async def test_peers_are_told_of_moved_shards() -> None:
    served, told = Served(), Silent()
    await served.front.listen()
    identity = Identity(CLUSTER_ID)
    peer = await served.network.node("client").connect(ADDRESS, identity=identity, inbound=told)
    row = ShardRow("default", 7, 2, 1)
    async with asyncio.timeout(20):
        while not served.front._listener.peers:  # type: ignore[union-attr]  # noqa: ASYNC110 - the other end of the handshake
            await asyncio.sleep(0)
    served.front.tell_moved(RunnerRow(2, "memory:2", "1", (), (), 1.0, "active", "active", 0, 0), [(row, 0.5)])
    async with asyncio.timeout(20):
        while not told.heard:  # noqa: ASYNC110 - an inbound has no event
            await asyncio.sleep(0)
    (request,) = told.heard
    assert isinstance(request, Request)
    assert unpack(request.payload, Moved).shards == [(row, 0.5)]
    peer.close()
    await peer.closed()
    await served.front.close()
    await served.store.close()


async def test_of_other_runners_shards_nothing_is_taken_and_nothing_passed_on() -> None:
    class Nothing:
        def serves(self, shard: int) -> bool:
            return False

    class Readers:
        async def live(self, number: int) -> Any:
            return SimpleNamespace(shard=3)

        async def archived(self, number: int) -> Any:
            return SimpleNamespace(shard=3)

        async def by_id(self, number: int) -> Any:
            return SimpleNamespace(shard=3)

        async def dead(self, *, after: int, limit: int) -> Any:
            return [SimpleNamespace(id=after + 1, shard=3)]

    readers: Any = Readers()
    here = Here(territory=Nothing(), shard_of=lambda _: 3, jobs=readers, messages=readers)
    for check in (here.check_job, here.check_dead_job, here.check_message, here.check_letter):
        with pytest.raises(EntityNotAssignedToRunner) as raised:
            await check(7)
        assert raised.value.executed == "no"
    with pytest.raises(EntityNotAssignedToRunner, match="Counter/c"):
        here.check_entity(Address("Counter", "c"))
