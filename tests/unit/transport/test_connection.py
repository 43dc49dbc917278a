"""Calls over a connection, in virtual time over the network of the simulation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from holdfast.errors import (
    ConfigurationError,
    MailboxFull,
    MalformedMessage,
    RpcClientError,
    RunnerUnavailable,
    SendTimeout,
    SerializationError,
)
from holdfast.model.envelope import Accepted, Call, DeclaredError, Request, Result
from holdfast.ports.transport import Listener, Network, Peer
from holdfast.settings import TransportSettings
from holdfast.testing.loop import run
from holdfast.transport import MemoryNetwork
from holdfast.transport.line import BURST_ENVELOPES
from tests.unit.transport.inbound import IDENTITY, Answering, call

ADDRESS = "memory:runner"


@dataclass
class Pair:
    """A client and a runner, connected."""

    network: MemoryNetwork
    answering: Answering
    listener: Listener
    asking: Answering
    peer: Peer


@asynccontextmanager
async def pair(network: MemoryNetwork | None = None) -> AsyncIterator[Pair]:
    network = network or MemoryNetwork()
    answering, asking = Answering(), Answering()
    listener = await network.node("runner").listen(ADDRESS, identity=IDENTITY, inbound=answering)
    peer = await network.node("client").connect(ADDRESS, identity=IDENTITY, inbound=asking)
    try:
        yield Pair(network, answering, listener, asking, peer)
    finally:
        network.heal("client", "runner")
        peer.close()
        await listener.close()
        await peer.closed()


def small(**changes: float) -> MemoryNetwork:
    return MemoryNetwork(settings=replace(TransportSettings(), **changes))  # type: ignore[arg-type]


def test_a_network_is_one_by_its_port() -> None:
    network: Network = MemoryNetwork().node("runner")
    assert callable(network.connect)


def test_every_answer_finds_its_call() -> None:
    async def main() -> None:
        async with pair() as side:
            replies = [side.peer.call(call(payload=bytes([number]))) for number in range(50)]
            assert [reply.payload for reply in await asyncio.gather(*replies)] == [bytes([n]) for n in range(50)]

    run(main())


def test_a_full_burst_leaves_at_once_and_the_rest_of_a_pass_together() -> None:
    async def main() -> None:
        async with pair() as side:
            first = side.peer.call(call())  # a lone call does not wait for the others
            burst = [side.peer.call(call()) for _ in range(2 * BURST_ENVELOPES + 3)]
            await asyncio.gather(first, *burst)
            assert side.answering.batches == [1, BURST_ENVELOPES, BURST_ENVELOPES, 3]

    run(main())


def test_answers_are_values_and_refusals_are_errors() -> None:
    async def main() -> None:
        async with pair() as side:
            assert isinstance(await side.peer.call(call("echo")), Result)
            assert isinstance(await side.peer.call(call("declared")), DeclaredError)
            stored = call("store")
            stored.message_id = 99
            reply = await side.peer.call(stored)
            assert reply == Accepted(stored.correlation, 99, False)
            assert isinstance(await side.peer.call(Request(0, "jobs.status", b"", 1_000_000)), Result)
            with pytest.raises(MailboxFull, match="1000 wait") as refused:
                await side.peer.call(call("full"))
            assert refused.value.executed == "no"

    run(main())


def test_both_sides_may_ask_over_one_connection() -> None:
    async def main() -> None:
        async with pair() as side:
            (back,) = side.listener.peers
            replies = await asyncio.gather(side.peer.call(call(payload=b"1")), back.call(call(payload=b"2")))
            assert [reply.payload for reply in replies] == [b"1", b"2"]

    run(main())


def test_a_call_ends_at_its_deadline_and_the_peer_is_told() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with pair() as side:
            late = side.peer.call(call("never", timeout_s=5))
            soon = side.peer.call(call("never", timeout_s=1))
            began = loop.time()
            with pytest.raises(SendTimeout) as error:
                await soon
            assert 1 <= loop.time() - began < 1.05
            assert error.value.executed == "unknown"
            with pytest.raises(SendTimeout):
                await late
            assert 5 <= loop.time() - began < 5.05
            await side.peer.call(call())
            assert side.answering.cancelled == [2, 1]

    run(main())


def test_a_cancelled_call_is_cancelled_at_the_peer() -> None:
    async def main() -> None:
        async with pair() as side:
            task = asyncio.ensure_future(side.peer.call(call("never")))
            waiter = asyncio.create_task(asyncio.wait_for(task, 100))
            await side.peer.call(call())
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            await side.peer.call(call())
            assert side.answering.cancelled == [1]

    run(main())


def test_a_full_window_refuses_at_once_and_opens_with_the_next_answer() -> None:
    async def main() -> None:
        async with pair(small(window=2)) as side:
            one, two = side.peer.call(call()), side.peer.call(call("never", timeout_s=1))
            with pytest.raises(MailboxFull, match="window is full") as refused:
                side.peer.call(call())
            assert refused.value.executed == "no"
            await one
            assert isinstance(await side.peer.call(call()), Result)
            with pytest.raises(SendTimeout):
                await two

    run(main())


def test_when_the_line_breaks_a_call_knows_whether_it_had_left() -> None:
    async def main() -> None:
        async with pair() as side:
            written = [side.peer.call(call("never")), side.peer.call(call("never"))]
            await side.peer.call(call())
            unwritten = side.peer.call(call())
            side.network.cut("client", "runner")
            errors = await asyncio.gather(*written, unwritten, return_exceptions=True)
            assert [type(error) for error in errors] == [RpcClientError] * 3  # what left in this pass may have arrived
            with pytest.raises(RunnerUnavailable) as refused:
                side.peer.call(call())
            assert refused.value.executed == "no" and not side.peer.open
            assert side.asking.lost == [side.peer] and len(side.answering.lost) == 1

    run(main())


def test_a_call_that_had_not_left_surely_did_not_run() -> None:
    async def main() -> None:
        async with pair() as side:
            waiting = side.peer.call(call("never"))
            late = side.peer.call(call())  # waits for the end of the pass, which does not come
            side.network.cut("client", "runner")
            for transport in list(side.network._transports):  # the loss is noticed before the pass ends
                transport._lose(ConnectionResetError("gone"))
            errors = await asyncio.gather(waiting, late, return_exceptions=True)
            assert [type(error) for error in errors] == [RpcClientError, RunnerUnavailable]

    run(main())


def test_closing_sends_what_was_put_before() -> None:
    async def main() -> None:
        async with pair() as side:
            calls = [side.peer.call(call("never")) for _ in range(3)]
            side.peer.close()
            side.peer.close()
            await side.peer.closed()
            errors = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(error) for error in errors] == [RpcClientError] * 3
            await asyncio.sleep(1)
            assert len(side.answering.lost) == 1
            assert len(side.answering.asked) == 3

    run(main())


def test_a_peer_that_goes_away_answers_what_it_has_and_takes_nothing_new() -> None:
    async def main() -> None:
        async with pair() as side:
            (back,) = side.listener.peers
            pending = side.peer.call(call("never", timeout_s=50))
            side.listener.go_away("it stops")
            await back.call(call())
            assert not side.peer.open
            with pytest.raises(RunnerUnavailable, match="it stops"):
                side.peer.call(call())
            asked = side.answering.asked[0]
            back.send(Result(asked.correlation, b"done"))
            assert await pending == Result(asked.correlation, b"done")
            with pytest.raises(RunnerUnavailable, match="it stops"):
                await side.network.node("client").connect(ADDRESS, identity=IDENTITY, inbound=Answering())

    run(main())


def test_what_cannot_be_sent_fails_alone() -> None:
    async def main() -> None:
        async with pair() as side:
            huge = side.peer.call(call(payload=bytes(17 * 1024 * 1024)))
            with pytest.raises(MalformedMessage, match="a frame at most") as refused:
                await huge
            assert refused.value.executed == "no"
            for method in ("huge", "surrogate"):
                try:
                    await side.peer.call(call(method))
                except (SerializationError, MailboxFull) as error:
                    assert (method == "huge") == isinstance(error, SerializationError)
            assert isinstance(await side.peer.call(call()), Result)

    run(main())


def test_an_error_in_the_handler_ends_the_connection_and_says_nothing() -> None:
    async def main() -> None:
        async with pair() as side:
            with pytest.raises(RpcClientError) as error:
                await side.peer.call(call("bug"))
            assert "ZeroDivision" not in str(error.value)

    run(main())


@pytest.mark.parametrize(
    ("identity", "error"),
    [
        (IDENTITY._replace(cluster_id="other"), RunnerUnavailable),
        (IDENTITY._replace(token="guess"), ConfigurationError),
    ],
)
def test_a_stranger_is_turned_away(identity: object, error: type[Exception]) -> None:
    async def main() -> None:
        async with pair() as side:
            with pytest.raises(error):
                await side.network.node("x").connect(ADDRESS, identity=identity, inbound=Answering())  # type: ignore[arg-type]
            assert len(side.listener.peers) == 1 and not side.answering.lost

    run(main())


def test_more_connections_than_allowed_are_turned_away() -> None:
    async def main() -> None:
        async with pair(small(connections_max=1)) as side:
            with pytest.raises(RunnerUnavailable, match="limit"):
                await side.network.node("x").connect(ADDRESS, identity=IDENTITY, inbound=Answering())

    run(main())


def test_a_half_open_connection_is_noticed_by_both_sides() -> None:
    """Nothing passes any more, and nobody says so: only the silence tells."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with pair() as side:
            began = loop.time()
            side.network.partition("client", "runner")
            waiting = side.peer.call(call("echo", timeout_s=500))
            with pytest.raises(RpcClientError, match="nothing was heard"):
                await waiting
            settings = side.network.settings
            assert settings.silence_max <= loop.time() - began <= settings.silence_max + 2 * settings.heartbeat + 0.1
            await asyncio.sleep(settings.heartbeat)
            assert len(side.answering.lost) == 1

    run(main())


def test_an_idle_connection_is_kept() -> None:
    async def main() -> None:
        async with pair() as side:
            await asyncio.sleep(3600)
            assert side.peer.silent_s <= 2 * side.network.settings.heartbeat
            assert isinstance(await side.peer.call(call()), Result)

    run(main())


def test_a_partition_holds_calls_back_and_healing_lets_them_through() -> None:
    async def main() -> None:
        async with pair() as side:
            side.network.block("runner", "client")  # the call arrives, its answer does not
            reply = side.peer.call(call(timeout_s=20))
            await asyncio.sleep(5)
            assert side.answering.asked and not reply.done()
            side.network.heal("client", "runner")
            assert isinstance(await reply, Result)

    run(main())


def test_connecting_through_a_partition_gives_up_in_time() -> None:
    async def main() -> None:
        async with pair() as side:
            side.network.partition("other", "runner")
            with pytest.raises(RunnerUnavailable, match="no handshake within"):
                await side.network.node("other").connect(ADDRESS, identity=IDENTITY, inbound=Answering())

    run(main())


def test_nobody_at_the_address_is_said_so() -> None:
    async def main() -> None:
        with pytest.raises(RunnerUnavailable, match="memory:nobody"):
            await MemoryNetwork().node("x").connect("memory:nobody", identity=IDENTITY, inbound=Answering())

    run(main())


def test_a_network_that_breaks_now_and_then_loses_no_call_unnoticed() -> None:
    """Every call ends with its answer or with an error; and the same seed gives the same run."""

    async def main(seed: int) -> list[str]:
        network = MemoryNetwork(randomness=random.Random(seed), delay_s=(0.001, 0.1), break_rate=0.02)
        answering, outcomes = Answering(), []
        listener = await network.node("runner").listen(ADDRESS, identity=IDENTITY, inbound=answering)
        for _ in range(10):
            try:
                peer = await network.node("client").connect(ADDRESS, identity=IDENTITY, inbound=Answering())
                for number in range(20):
                    reply = await peer.call(call(payload=bytes([number])))
                    outcomes.append(f"{type(reply).__name__} {number}")
                peer.close()
            except (RunnerUnavailable, RpcClientError) as error:
                outcomes.append(str(error))
        await listener.close()
        return outcomes

    first = run(main(3))
    assert any("broke" in outcome for outcome in first) and any("Result 19" in outcome for outcome in first)
    assert run(main(3)) == first
    assert run(main(4)) != first


def test_order_is_kept_whatever_the_delays() -> None:
    async def main() -> None:
        async with pair(MemoryNetwork(randomness=random.Random(1), delay_s=(0.0, 1.0))) as side:
            replies = []
            for number in range(20):
                replies.append(side.peer.call(call(payload=bytes([number]))))
                await asyncio.sleep(0.01)
            await asyncio.gather(*replies)
            payloads = [asked.payload for asked in side.answering.asked if isinstance(asked, Call)]
            assert payloads == [bytes([number]) for number in range(20)]

    run(main())
