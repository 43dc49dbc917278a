"""Links: a call finds the owner of its shard, follows it when it moves, and never runs twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from holdfast.errors import (
    EntityNotAssignedToRunner,
    MailboxFull,
    MalformedMessage,
    RpcClientError,
    RunnerUnavailable,
    SendTimeout,
)
from holdfast.model.cluster import ShardRow
from holdfast.model.envelope import Call, Request, Result
from holdfast.ports.transport import Identity, Peer
from holdfast.runtime.questions import MOVED, Moved, pack
from holdfast.runtime.remote.asking import Asker
from holdfast.runtime.remote.link import Changes, RunnerLink
from holdfast.runtime.remote.links import SILENCE_S
from holdfast.testing.loop import run
from tests.unit.runtime.peers import CLUSTER, FakeCluster, FakeRunner, call, runner_row, until, value

PATIENCE_S = 20.0
SECOND_US = 1_000_000


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    cluster = FakeCluster()
    yield cluster
    await cluster.close()


@pytest.fixture
async def first(cluster: FakeCluster) -> FakeRunner:
    return await cluster.runner(1, {1, 2})


@pytest.fixture
async def second(cluster: FakeCluster, first: FakeRunner) -> FakeRunner:
    runner = await cluster.runner(2, {3})
    await cluster.links.start()
    return runner


async def ask(cluster: FakeCluster, shard: int, *, timeout_s: float = PATIENCE_S, repeatable: bool = False) -> int:
    asked = call(shard)
    return value(
        await Asker(cluster.links).ask(lambda: cluster.links.toward(shard), asked, timeout_s, repeatable=repeatable)
    )


async def test_each_shard_is_asked_of_its_owner(cluster: FakeCluster, second: FakeRunner) -> None:
    assert [await ask(cluster, shard) for shard in (1, 2, 3)] == [1, 1, 2]


async def test_there_is_one_connection_to_each_runner(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    await asyncio.gather(*(ask(cluster, shard) for shard in (1, 2, 3) * 10))
    assert [len(runner.listener.peers) for runner in (first, second) if runner.listener] == [1, 1]


async def test_a_call_follows_a_shard_that_has_moved(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    assert await ask(cluster, 1) == 1
    first.owned.remove(1)
    second.owned.add(1)
    assert await ask(cluster, 1) == 2
    assert len(first.calls) >= 2, "who else could have said that it has moved?"


async def test_what_a_runner_says_of_moved_shards_is_known_at_once(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    assert await ask(cluster, 1) == 1
    readings = cluster.routes.readings
    first.owned.remove(1)
    second.owned.add(1)
    assert first.listener is not None
    (peer,) = first.listener.peers
    told = Moved(runner_row(2), [(ShardRow("default", 1, 2, 7), 0.0)])
    await peer.call(Request(0, MOVED, pack(told), SECOND_US))
    assert await ask(cluster, 1) == 2
    assert len(first.calls) == 1, "the old owner was asked again"
    assert cluster.routes.readings <= readings + 1


async def test_a_call_waits_for_an_owner_inside_its_deadline(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    waiting = asyncio.create_task(ask(cluster, 4))
    await until(lambda: cluster.routes.readings >= 2)
    assert not waiting.done()
    second.owned.add(4)
    assert await waiting == 2


async def test_without_an_owner_a_call_ends_as_not_executed_at_its_deadline(
    cluster: FakeCluster, second: FakeRunner
) -> None:
    with pytest.raises(RunnerUnavailable, match="no runner owns its shard") as raised:
        await ask(cluster, 4, timeout_s=0.5)
    assert raised.value.executed == "no"


async def test_a_call_to_a_dead_runner_is_answered_by_its_heir(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    assert await ask(cluster, 1) == 1
    await first.die()
    waiting = asyncio.create_task(ask(cluster, 1))
    readings = cluster.routes.readings
    await until(lambda: cluster.routes.readings > readings)
    cluster.reap(first, second)
    assert await waiting == 2


async def test_a_frozen_runner_that_was_reaped_is_given_up_and_its_calls_are_of_unknown_outcome(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    assert await ask(cluster, 1) == 1
    cluster.network.partition("client", "1")
    waiting = asyncio.create_task(ask(cluster, 1))
    await until(lambda: cluster.under_way(1) == 1)
    cluster.reap(first, second)
    with pytest.raises(RpcClientError) as raised:
        await waiting
    assert raised.value.executed == "unknown"
    assert await ask(cluster, 1) == 2
    await first.die()


async def test_a_reaped_runner_that_has_come_back_as_another_still_answers_what_it_was_asked(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    first.mute = True
    waiting = asyncio.create_task(ask(cluster, 1))
    await until(lambda: len(first.calls) == 1)
    cluster.reap(first, second)
    (old,) = first.listener.peers if first.listener else ()
    cluster.links.astray()
    await until(lambda: 1 not in cluster.links._links)
    assert await ask(cluster, 1) == 2, "it is still asked"
    for _ in range(3):
        await cluster.links._look()
    old.send(Result(first.calls[0].correlation, b"7"))
    assert await waiting == 7
    await until(lambda: not first.listener or not first.listener.peers)
    await first.die()


async def test_a_question_that_may_be_asked_twice_survives_a_frozen_runner(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    assert await ask(cluster, 1) == 1
    cluster.network.partition("client", "1")
    waiting = asyncio.create_task(ask(cluster, 1, repeatable=True))
    await until(lambda: cluster.under_way(1) == 1)
    cluster.reap(first, second)
    assert await waiting == 2
    await first.die()


def test_the_store_is_left_alone_while_a_runner_answers_or_owes_nothing() -> None:
    async def main() -> None:
        cluster = FakeCluster()
        first = await cluster.runner(1, {1, 2})
        await cluster.links.start()
        assert await ask(cluster, 1) == 1
        first.mute = True  # it takes its time over the call, and its process answers
        slow = asyncio.create_task(ask(cluster, 1, timeout_s=60.0))
        await until(lambda: len(first.calls) == 2 and not cluster.links._astray)
        readings = cluster.routes.readings
        await asyncio.sleep(20 * SILENCE_S)  # in virtual time, in which no machine is slow
        assert cluster.routes.readings == readings
        slow.cancel()
        await until(lambda: first.cancelled == [first.calls[1].correlation])
        await cluster.close()

    run(main())


@pytest.mark.parametrize("error", [MailboxFull("full"), MalformedMessage("what?")])
async def test_other_refusals_are_the_callers(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner, error: Exception
) -> None:
    first.refusal = error  # type: ignore[assignment]
    with pytest.raises(type(error)):
        await ask(cluster, 1)
    assert len(first.calls) == 1


async def test_what_may_have_run_is_not_asked_again(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    first.refusal = EntityNotAssignedToRunner("moved while it ran", executed="unknown")
    with pytest.raises(EntityNotAssignedToRunner):
        await ask(cluster, 1)
    assert len(first.calls) == 1


async def test_deadlines_shrink_with_every_try(cluster: FakeCluster, first: FakeRunner, second: FakeRunner) -> None:
    first.owned.remove(1)
    with pytest.raises(RunnerUnavailable):
        await ask(cluster, 1, timeout_s=0.6)
    first.owned.add(1)
    left = [asked.timeout_us for asked in first.calls]
    assert left == sorted(left, reverse=True)
    assert all(us <= 600_000 for us in left)


async def test_a_shard_on_its_way_to_this_process_is_nobodys() -> None:
    cluster = FakeCluster()
    cluster.links._dialling.runner_id = lambda: 1
    await cluster.runner(1, {1})
    await cluster.routes.refresh()
    assert cluster.links.toward(1).current is None
    assert [name for name, _ in cluster.links.everyone()] == []
    await cluster.close()


async def test_anyone_is_a_runner_that_answers(cluster: FakeCluster, first: FakeRunner, second: FakeRunner) -> None:
    await first.die()
    asked: Call = call(3)
    reply = await Asker(cluster.links).ask(cluster.links.anyone, asked, PATIENCE_S)
    assert value(reply) == 2


async def test_a_client_is_asked_nothing_but_about_moved_shards(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    await ask(cluster, 1)
    assert first.listener is not None
    peer: Peer = first.listener.peers[0]
    with pytest.raises(MalformedMessage, match="serves nothing"):
        await peer.call(Call(0, "Cart", "1", "add", b"", SECOND_US))


async def test_a_link_to_another_cluster_says_so(cluster: FakeCluster, first: FakeRunner, second: FakeRunner) -> None:
    async def another() -> str:
        return "c-2"

    cluster.links._dialling._cluster_id = another
    with pytest.raises(RunnerUnavailable, match="c-1"):
        await ask(cluster, 1, timeout_s=2.0)


async def test_the_deadline_of_a_mute_runner_is_an_unknown_outcome(
    cluster: FakeCluster, first: FakeRunner, second: FakeRunner
) -> None:
    assert await ask(cluster, 1) == 1
    first.mute = True
    with pytest.raises(SendTimeout) as raised:
        await ask(cluster, 1, timeout_s=1.0)
    assert raised.value.executed == "unknown"


async def test_a_link_outlives_what_nobody_has_foreseen(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged once, told to who asks, and the runner found as soon as it is gone."""
    cluster = FakeCluster()
    runner = await cluster.runner(1, {1})
    broken, tries = True, 0

    async def find() -> str:
        nonlocal tries
        tries += 1
        if broken:
            raise LookupError("not as it should be")
        return "memory:1"

    async def introduce() -> Identity:
        return Identity(CLUSTER, 0)

    link = RunnerLink(
        find=find,
        introduce=introduce,
        network=cluster.network.node("client"),
        hear=lambda peer, batch: None,
        changes=Changes(),
        rng=random.Random(0),
    )
    try:
        assert await link.reached(PATIENCE_S) is None
        assert link.why == "LookupError: not as it should be"
        await until(lambda: tries >= 3)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        broken = False
        await until(lambda: link.peer is not None)
    finally:
        await link.stop()
        await runner.die()
