"""What a second process sees of a runner: the same calls, results and errors as within the runner's own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import Any, cast
from uuid import uuid4

import pytest

from holdfast import JobState
from holdfast.entities.door import Receipt
from holdfast.errors import (
    AlreadyCancelled,
    HandlerFailed,
    JobDead,
    JobKeyConflict,
    JobNotFound,
    KeyConflict,
    MailboxFull,
    MalformedMessage,
    MessageNotFound,
    NotStarted,
    SendTimeout,
)
from holdfast.jobs.door import CancelOutcome
from holdfast.model.ids import JobId, MessageId
from tests.integration.processes import runner_process
from tests.integration.shop import Cart, Feed, Line, SoldOut, Till, app, double, fail_job, wait_long
from tests.support.nursery import ROOT

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The store of a runner that serves in another process."""
    url = f"sqlite:///{tmp_path_factory.mktemp('client')}/shop.db"
    with runner_process(url) as process:
        process.start()
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[None]:
    async with app.client(store=url):
        yield


@pytest.fixture
def cart(client: None) -> Cart:
    """A cart that no other test has seen."""
    return app.ref(Cart, uuid4().hex)


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    """Asks again until it is so: for what another process does in its own time."""
    async with asyncio.timeout(PATIENCE_S):
        while not await seen():  # noqa: ASYNC110 - there is no event to wait for in another process
            await asyncio.sleep(0.01)


async def test_a_call_changes_state_and_returns_it_typed(cart: Cart) -> None:
    await cart.add(Line("apple", 1))
    assert await cart.add(Line("pear", 2)) == [Line("apple", 1), Line("pear", 2)]


async def test_a_call_by_the_service_is_the_same_call(cart: Cart) -> None:
    assert await app.cluster.send(Cart.add, cart._address.entity_id, Line("fig", 1)) == [Line("fig", 1)]  # type: ignore[attr-defined]


async def test_a_durable_call_returns_what_its_handler_does(cart: Cart) -> None:
    assert [await cart.note(number) for number in (7, 8, 9)] == [1, 2, 3]


async def test_many_durable_calls_at_once_are_handled_in_the_order_they_were_made(cart: Cart) -> None:
    assert await asyncio.gather(*(cart.note(number) for number in range(300))) == list(range(1, 301))
    assert await cart.numbers() == list(range(300))


async def test_a_durable_call_of_a_slow_handler_waits_for_it(cart: Cart) -> None:
    assert await cart.note_slowly(1, 0.1) == 1


async def test_a_send_is_acknowledged_while_an_earlier_handler_still_runs(cart: Cart, tmp_path: Path) -> None:
    slow = asyncio.ensure_future(cart.note_when(1, str(tmp_path / "now")))
    await asyncio.sleep(0)
    receipts = [await cart.note.send(2), await cart.note.send(3)]
    assert not slow.done()
    (tmp_path / "now").touch()
    assert await app.cluster.result(receipts[1]) == 3
    assert await slow == 1
    assert await cart.numbers() == [1, 2, 3]


async def test_a_receipt_leads_to_the_outcome(cart: Cart) -> None:
    receipt = await cart.checkout.send("o-1")
    assert receipt.duplicate is False
    assert await app.cluster.result(receipt) == "accepted o-1"


async def test_a_key_makes_the_second_send_a_duplicate(cart: Cart) -> None:
    first, second = await cart.checkout.send("o-1"), await cart.checkout.send("o-1")
    assert (first.duplicate, second.duplicate) == (False, True)
    assert await cart.checkout("o-1") == "accepted o-1"


async def test_a_key_with_another_payload_is_a_conflict(cart: Cart) -> None:
    await cart.note.opts(key="k").send(1)
    with pytest.raises(KeyConflict, match="'k'"):
        await cart.note.opts(key="k").send(2)
    with pytest.raises(KeyConflict, match="'k'"):
        await cart.note.opts(key="k")(2)
    assert await cart.numbers() == [1]


@pytest.mark.parametrize("durable", [False, True])
async def test_a_declared_error_is_raised_as_itself(cart: Cart, durable: bool) -> None:
    with pytest.raises(SoldOut) as raised:
        await (cart.checkout("fig", fails=True) if durable else cart.refuse("fig"))
    assert raised.value.args == (("fig",) if durable else ("fig", 3))


async def test_the_receipt_of_a_declared_error_raises_it(cart: Cart) -> None:
    receipt = await cart.checkout.send("fig", True)
    with pytest.raises(SoldOut):
        await app.cluster.result(receipt)


async def test_another_error_crosses_by_its_kind_without_its_text(cart: Cart) -> None:
    with pytest.raises(HandlerFailed) as raised:
        await cart.fail()
    assert raised.value.error_type == "ValueError"
    assert raised.value.incident
    assert "secret" not in str(raised.value)


async def test_wrong_arguments_are_refused_where_they_are_given(cart: Cart) -> None:
    with pytest.raises(MalformedMessage, match="qty"):
        await cart.add(Line("fig", cast(int, "many")))


async def test_an_unknown_message_id_is_not_found(client: None) -> None:
    unknown: Receipt[Any] = Receipt(MessageId(2**60), duplicate=False)
    with pytest.raises(MessageNotFound):
        await app.cluster.result(unknown)


async def test_the_callers_deadline_ends_the_call_and_cancels_the_handler(cart: Cart) -> None:
    async def interrupted() -> bool:
        with pytest.raises(SendTimeout):
            await cart.sleep.opts(timeout=0.3)(3600.0)  # again, where the deadline came before the handler began
        return await cart.interruptions() > 0

    await until(interrupted)


async def test_a_cancelled_caller_cancels_the_volatile_handler(cart: Cart) -> None:
    assert await cart.interruptions() == 0  # it is live, so the next call starts as it arrives
    call = asyncio.ensure_future(cart.sleep(3600.0))
    await asyncio.sleep(0)  # it is sent,
    await app.cluster.runners()  # and this answers what was sent behind it
    call.cancel()

    async def interrupted() -> bool:
        return await cart.interruptions() == 1

    await until(interrupted)


async def test_a_cancelled_caller_leaves_the_durable_handler_alone(cart: Cart) -> None:
    await cart.note(4)
    call = asyncio.ensure_future(cart.note_slowly(5, 0.2))
    await asyncio.sleep(0)
    await app.cluster.runners()
    call.cancel()

    async def noted() -> bool:
        return await cart.numbers() == [4, 5]

    await until(noted)


async def test_a_full_mailbox_refuses_and_the_others_are_handled(client: None) -> None:
    till = app.ref(Till, uuid4().hex)
    outcomes = await asyncio.gather(*(till.ring(0.002) for _ in range(20)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, MailboxFull)]
    assert refused
    assert all(error.executed == "no" for error in refused)
    assert outcomes.count("rung") == len(outcomes) - len(refused)


async def test_a_stream_brings_every_element_in_order(client: None) -> None:
    feed = app.ref(Feed, uuid4().hex)
    assert [line.qty async for line in feed.lines(100)] == list(range(100))


async def test_a_stream_runs_ahead_of_its_consumer_by_its_credit_at_most(client: None) -> None:
    feed = app.ref(Feed, uuid4().hex)
    async with aclosing(cast("Any", feed.lines(10_000))) as lines:
        for _ in range(3):
            await anext(lines)

        async def stands_still() -> bool:
            seen = [await feed.counts() for _ in range(20)]
            return seen[0] == seen[-1]

        await until(stands_still)
        produced, closed = await feed.counts()
        assert 3 <= produced <= 3 + app.settings.transport.stream_credit + 1
        assert not closed

    async def has_closed() -> bool:
        return (await feed.counts())[1] == 1

    await until(has_closed)


async def test_a_stream_that_fails_raises_after_what_it_gave(client: None) -> None:
    feed, seen = app.ref(Feed, "broken"), []
    with pytest.raises(HandlerFailed, match="ValueError"):
        async for number in feed.broken():
            seen.append(number)
    assert seen == [1]


async def test_a_stream_that_gives_nothing_ends_at_its_deadline(client: None) -> None:
    with pytest.raises(SendTimeout):
        async for _ in app.ref(Feed, "silent").silent.opts(timeout=0.1)():
            pass


async def test_a_timer_can_be_set_and_cancelled(cart: Cart) -> None:
    await cart.note.opts(name="reminder", delay=3600.0).send(1)
    door = cast("Any", cart)._link.door
    assert await door.cancel_timer(cast("Any", cart)._address, "reminder") is True
    assert await door.cancel_timer(cast("Any", cart)._address, "reminder") is False


async def test_a_delayed_send_is_handled_later(cart: Cart) -> None:
    sent_at = monotonic()
    receipt = await cart.note.opts(delay=0.2).send(1)
    assert await app.cluster.result(receipt) == 1
    assert monotonic() - sent_at >= 0.2


async def test_a_delayed_call_waits_for_its_reply(cart: Cart) -> None:
    assert await cart.note.opts(delay=0.1)(1) == 1


async def test_the_cluster_is_seen_from_a_client(cart: Cart) -> None:
    await cart.add(Line("fig", 1))
    (runner,) = await app.cluster.runners()
    assert runner.address.startswith("unix:")
    assert {shard.runner_id for shard in await app.cluster.shards()} == {runner.runner_id}
    assert await app.cluster.where(Cart, "any") == runner
    assert app.cluster.health().ready


async def test_a_broadcast_reaches_every_live_instance(client: None) -> None:
    feeds = [app.ref(Feed, uuid4().hex) for _ in range(3)]
    for feed in feeds:
        await feed.counts()
    replies = await app.cluster.broadcast(Feed.counts)
    assert replies.count((0, 0)) >= 3


async def test_a_broadcast_gives_errors_in_the_place_of_replies(cart: Cart) -> None:
    await cart.interruptions()
    replies = await app.cluster.broadcast(Cart.refuse, "fig")
    assert replies
    assert all(isinstance(reply, SoldOut) for reply in replies)


async def test_a_job_runs_and_its_result_comes_back(client: None) -> None:
    job = await double.submit(21)
    assert job.duplicate is False
    assert await job.result(timeout=PATIENCE_S) == 42
    assert (await app.jobs.status(job)).state is JobState.COMPLETED


async def test_many_jobs_are_submitted_together(client: None) -> None:
    jobs = await app.jobs.submit_many([double.call(number) for number in range(300)])
    assert len({job.id for job in jobs}) == 300
    assert await asyncio.gather(*(job.result(timeout=PATIENCE_S) for job in jobs)) == [
        2 * number for number in range(300)
    ]


async def test_a_job_of_a_known_key_is_the_first_one(client: None) -> None:
    key = uuid4().hex
    first, second = [await double.opts(key=key).submit(1) for _ in range(2)]
    assert (second.id, second.duplicate) == (first.id, True)
    with pytest.raises(JobKeyConflict):
        await double.opts(key=key).submit(2)


async def test_a_running_job_is_cancelled(client: None) -> None:
    job = await wait_long.submit()

    async def runs() -> bool:
        return (await app.jobs.status(job)).progress == 0.5

    await until(runs)
    assert await app.jobs.cancel(job) is CancelOutcome.INTERRUPTED
    with pytest.raises(AlreadyCancelled):
        await app.jobs.cancel(job)


async def test_a_dead_job_is_listed_replayed_and_discarded(client: None) -> None:
    job = await fail_job.submit("bad")
    with pytest.raises(JobDead, match="bad"):
        await job.result(timeout=PATIENCE_S)
    letters = await app.jobs.dead_letters(job_type="fail_job")
    assert [(letter.id, letter.arguments) for letter in letters] == [(job.id, {"text": "bad"})]
    again = await app.jobs.replay(job)
    with pytest.raises(JobDead):
        await again.result(timeout=PATIENCE_S)
    await app.jobs.discard(again)
    assert await app.jobs.dead_letters(job_type="fail_job") == []
    with pytest.raises(AlreadyCancelled):
        await app.jobs.replay(job)


async def test_the_wait_for_a_job_ends_in_time(client: None) -> None:
    job = await wait_long.submit()
    with pytest.raises(TimeoutError):
        await job.result(timeout=0.1)
    await app.jobs.cancel(job)


async def test_an_unknown_job_is_not_found(client: None) -> None:
    for unknown in ("4611686018427387904", "x", "ü"):
        with pytest.raises(JobNotFound):
            await app.jobs.status(JobId(unknown))


async def test_the_sender_counts_what_it_sent(cart: Cart) -> None:
    def sent() -> float:
        samples = app.metrics.registry.get_sample_value
        return samples("cluster_messages_sent_total", {"entity_type": "Cart", "operation": "send"}) or 0.0

    before = sent()
    await cart.note(1)
    await cart.note.send(2)
    await cart.numbers()
    assert sent() == before + 3


async def test_a_ref_of_a_closed_client_is_not_started(url: str) -> None:
    async with app.client(store=url):
        cart = app.ref(Cart, "closed")
        await cart.numbers()
    with pytest.raises(NotStarted):
        await cart.numbers()


def test_a_blocking_call_opens_a_client_by_itself(url: str) -> None:
    program = (
        "from tests.integration.shop import *\n"
        "cart = app.ref(Cart, 'blocking')\n"
        "print(cart.note.sync(1), cart.note.sync.send(2).duplicate, cart.numbers.sync())\n"
        "print(double.sync.submit(2).duplicate)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"HOLDFAST_STORE": url, "PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.stdout == "1 False [1, 2]\nFalse\n", run.stderr


def test_the_socket_is_the_users_own(url: str) -> None:
    socket = Path(url.removeprefix("sqlite:///") + ".sock")
    assert socket.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("what", ["job", "message"])
async def test_who_waits_for_an_outcome_hears_that_the_client_has_closed(url: str, what: str) -> None:
    async with app.client(store=url):
        if what == "job":
            job = await double.opts(delay=600.0).submit(1)
            waiting = asyncio.ensure_future(job.result())
        else:
            receipt = await app.ref(Cart, uuid4().hex).checkout.opts(delay=600.0).send("o-1")
            waiting = asyncio.ensure_future(app.cluster.result(receipt, timeout=600.0))
        await asyncio.sleep(0.2)  # on its way to the runner; where it is not, the test holds the less
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(NotStarted):
            await waiting
