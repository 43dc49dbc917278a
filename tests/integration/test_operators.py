"""What operators type beside runners that work: `holdfast node`, `shard`, `job`, `dead-letter`."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import pytest

from holdfast import App, Entity, message
from holdfast.errors import JobDead, MessageDead
from holdfast.runtime.config import ADVERTISE_VARIABLE, LISTEN_VARIABLE, STORE_VARIABLE
from tests.integration.processes import RunnerProcess, runner_process
from tests.integration.shop import Cart, app
from tests.support.command import holdfast
from tests.support.postgres import emptied_schema

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0
CLEAR_SCREEN = "\x1b[2J"


async def typed(store: str, *words: str, advertise: str | None = None) -> CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in (ADVERTISE_VARIABLE, LISTEN_VARIABLE)
    }
    environment |= {STORE_VARIABLE: store} | ({ADVERTISE_VARIABLE: advertise} if advertise else {})
    return await asyncio.to_thread(holdfast, *words, environment=environment)


async def told(store: str, *words: str) -> Any:
    done = await typed(store, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    """Asks again until it is so: for what others do in their own time."""
    async with asyncio.timeout(PATIENCE_S):
        while not await seen():  # noqa: ASYNC110 - there is no event to wait for in another process
            await asyncio.sleep(0.05)


# Several runners.


@pytest.fixture
async def url(postgres_servers: Callable[[str], str]) -> AsyncIterator[str]:
    async with emptied_schema(postgres_servers("postgres")) as url:
        yield url


@pytest.fixture
def start(url: str) -> Iterator[Callable[[], RunnerProcess]]:
    """Starts a runner process."""
    with ExitStack() as stack:

        def started() -> RunnerProcess:
            process = stack.enter_context(runner_process(url))
            process.start()
            return process

        yield started


async def owned() -> Counter[int]:
    return Counter(shard.runner_id for shard in await app.cluster.shards())


async def shared_by(*runners: int) -> None:
    """Returns once these own all shards, evenly."""

    async def even() -> bool:
        counts = await owned()
        return counts.keys() == set(runners) and max(counts.values()) - min(counts.values()) <= 1

    await until(even)


@pytest.mark.postgres
async def test_a_runner_drained_by_command_gives_all_it_has_while_callers_see_nothing(
    url: str, start: Callable[[], RunnerProcess]
) -> None:
    """It goes on running, and `uncordon` brings shards back."""
    start()
    start()
    async with app.client(store=url):
        await shared_by(1, 2)
        name, stop = uuid4().hex, asyncio.Event()
        carts = [app.ref(Cart, f"{name}-{number}") for number in range(12)]
        sent: Counter[int] = Counter()

        async def call(number: int, cart: Cart) -> None:
            while not stop.is_set():
                sent[number] += 1
                assert await cart.note.opts(timeout=PATIENCE_S)(sent[number]) == sent[number]

        address = {row.runner_id: row.address for row in await app.cluster.runners()}[1].removeprefix("tcp:")
        async with asyncio.TaskGroup() as callers:
            for number, cart in enumerate(carts):
                callers.create_task(call(number, cart))
            drained = await typed(url, "node", "drain", "--wait", advertise=address)
            assert (drained.returncode, drained.stdout) == (0, "runner 1 owns no shards any more\n"), drained.stderr
            assert await owned() == {2: 64}
            (row,) = [row for row in (await told(url, "node", "list"))["runners"] if row["id"] == 1]
            assert (row["state"], row["wanted"], row["shards"], row["lease_valid"]) == ("draining", "draining", 0, True)
            assert (await told(url, "node", "uncordon", "1")) == {"runner": 1, "wanted": "active"}
            await shared_by(1, 2)
            stop.set()
        for number, cart in enumerate(carts):
            assert await cart.numbers() == list(range(1, sent[number] + 1))


@pytest.mark.postgres
async def test_a_cordoned_runner_keeps_what_it_has_and_takes_nothing(
    url: str, start: Callable[[], RunnerProcess]
) -> None:
    start()
    second = start()
    async with app.client(store=url):
        await shared_by(1, 2)
        kept = {shard.number for shard in await app.cluster.shards() if shard.runner_id == 1}
        assert (await told(url, "node", "cordon", "1")) == {"runner": 1, "wanted": "cordoned"}

        async def heard() -> bool:
            return {row.runner_id: row.state for row in await app.cluster.runners()}[1] == "cordoned"

        await until(heard)
        alone = await typed(url, "node", "drain", "2", "--wait")
        assert alone.returncode == 1
        assert "has nobody to give its" in alone.stdout
        await asyncio.to_thread(second.stop)
        start()
        await shared_by(1, 3)
        assert {shard.number for shard in await app.cluster.shards() if shard.runner_id == 1} == kept

        shown = (await told(url, "shard", "map"))["map"]
        assert [one["runner"] for one in shown] == [1, 3]
        listed = (await told(url, "shard", "list", "--after", "9", "--limit", "5"))["shards"]
        assert [one["number"] for one in listed] == [10, 11, 12, 13, 14]
        for one in listed:
            assert one["runner"] == (1 if one["number"] in kept else 3)
        status = await typed(url, "status")
        assert "cordoned" in status.stdout and "64 shards (0 without owner)" in status.stdout


# One runner, and none.


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


class Till(Entity[None]):
    @message(durable=True, max_deliveries=1)
    async def close(self) -> None:
        raise ValueError("the drawer " + CLEAR_SCREEN + " is stuck")


def new_app() -> App:
    app = App("shop")
    app.entity(Till)

    @app.job(max_attempts=1)
    async def pay(amount: int) -> None:
        raise ValueError("no money " + CLEAR_SCREEN)

    @app.job
    async def sweep() -> None: ...

    return app


async def test_the_only_runner_drains_by_command_and_is_not_ready_until_it_may_go_on(store: str) -> None:
    app = new_app()
    async with app.runner(store=store):

        async def ready() -> bool:
            return app.cluster.health().ready

        async def not_ready() -> bool:
            return not app.cluster.health().ready

        await until(ready)
        drained = await typed(store, "node", "drain", "1", "--wait")
        assert drained.returncode == 1
        assert "has nobody to give its 64 shards to, and serves them on" in drained.stdout
        await until(not_ready)
        assert (await typed(store, "node", "uncordon", "1")).stdout == "runner 1 is asked to take shards again\n"
        await until(ready)


async def test_jobs_are_listed_shown_cancelled_with_a_runner_and_without(store: str) -> None:
    app = new_app()
    sweep = app.job_types["sweep"]
    async with app.runner(store=store):
        first = await sweep.opts(delay=3600).submit()
        second = await sweep.opts(delay=3600).submit()
        third = await sweep.opts(delay=3600).submit()
        listed = (await told(store, "job", "list"))["jobs"]
        assert [(one["id"], one["state"]) for one in listed] == [
            (one.id, "scheduled") for one in (first, second, third)
        ]
        page = (await told(store, "job", "list", "--after", first.id, "--limit", "1", "--type", "sweep"))["jobs"]
        assert [one["id"] for one in page] == [second.id]
        assert (await told(store, "job", "list", "--type", "pay"))["jobs"] == []
        assert (await told(store, "job", "cancel", first.id))["outcome"] == "cancelled"
        assert (await told(store, "job", "show", first.id))["state"] == "cancelled"
        again = await typed(store, "job", "cancel", first.id)
        assert again.returncode == 1 and "cancelled already" in again.stderr, again.stderr
    assert (await told(store, "job", "cancel", second.id))["outcome"] == "requested"
    assert (await told(store, "job", "show", second.id))["state"] == "scheduled"
    async with app.runner(store=store):

        async def cancelled() -> bool:
            return (await app.jobs.status(second.id)).state == "cancelled"

        await until(cancelled)
    assert [one["id"] for one in (await told(store, "job", "list", "--state", "cancelled"))["jobs"]] == [
        first.id,
        second.id,
    ]


async def test_dead_letters_of_both_kinds_are_one_list_and_are_replayed_or_discarded(store: str) -> None:
    """What stands in their errors does not reach the terminal as it is."""
    app = new_app()
    async with app.runner(store=store):
        handles = [await app.job_types["pay"].submit(amount) for amount in (1, 2)]
        for handle in handles:
            with pytest.raises(JobDead):
                await handle.result(timeout=PATIENCE_S)
        for name in ("front", "back"):
            with pytest.raises(MessageDead):
                await app.ref(Till, name).close()
        found = (await told(store, "dead-letter", "list"))["dead_letters"]
        assert [one["kind"] for one in found] == ["job", "job", "message", "message"]
        assert [one["entity_id"] for one in found] == [None, None, "front", "back"]
        shown = await typed(store, "dead-letter", "list")
        assert "Till.close" in shown.stdout and "\x1b" not in shown.stdout and "\\x1b[2J" in shown.stdout
        listed = await typed(store, "job", "list", "--state", "dead")
        assert "no money" in listed.stdout and "\x1b" not in listed.stdout
        one = await typed(store, "job", "show", handles[0].id)
        assert "no money" in one.stdout and "\x1b" not in one.stdout

        job, other, letter, last = (one["id"] for one in found)
        replayed = await told(store, "dead-letter", "replay", job)
        with pytest.raises(JobDead):
            await app.jobs.wait(replayed["new_id"], timeout=PATIENCE_S)
        assert (await told(store, "job", "discard", other))["outcome"] == "discarded"
        assert (await told(store, "dead-letter", "discard", letter))["kind"] == "message"
        replayed_message = await told(store, "dead-letter", "replay", last)
        assert int(replayed_message["new_id"]) > int(last)
        gone = await typed(store, "dead-letter", "discard", letter)
        assert gone.returncode == 1 and f"no dead letter has the id {letter}" in gone.stderr
        odd = await typed(store, "dead-letter", "discard", "mine")
        assert odd.returncode == 1 and "no dead letter has the id 'mine'" in odd.stderr
        again = await typed(store, "job", "replay", job)
        assert again.returncode == 1 and "replayed before" in again.stderr


async def test_without_a_runner_a_dead_job_is_replayed_and_discarded_later(store: str) -> None:
    app = new_app()
    async with app.runner(store=store):
        handles = [await app.job_types["pay"].submit(amount) for amount in (1, 2)]
        for handle in handles:
            with pytest.raises(JobDead):
                await handle.result(timeout=PATIENCE_S)
    new = (await told(store, "dead-letter", "replay", handles[0].id))["new_id"]
    assert (await told(store, "dead-letter", "discard", handles[1].id))["outcome"] == "discarded"
    missing = await typed(store, "job", "show", new)
    assert missing.returncode == 1 and "no job has the id" in missing.stderr
    async with app.runner(store=store):

        async def dealt_with() -> bool:
            return [one.id for one in await app.jobs.dead_letters()] == [new]

        await until(dealt_with)


async def test_what_is_wrong_is_told_in_a_line(store: str) -> None:
    async with new_app().runner(store=store):
        for code, said, *words in (
            (1, "no runner 7 is registered", "node", "drain", "7"),
            (1, "no runner with the address tcp:10.0.0.1:7400", "node", "cordon", "--address", "10.0.0.1:7400"),
            (2, "which runner?", "node", "drain", "--wait"),
            (2, "not by both", "node", "drain", "1", "--address", "10.0.0.1:7400"),
            (2, "--timeout", "node", "drain", "1", "--wait", "--timeout", "-1"),
            (2, "--limit", "job", "list", "--limit", "0"),
            (2, "--after", "shard", "list", "--after", "99999999999999999999"),
            (1, "no job has the id", "job", "show", "12345"),
            (1, "no job has the id", "job", "cancel", "x" + CLEAR_SCREEN),
            (1, "no dead letter has the id 12345", "dead-letter", "replay", "12345"),
        ):
            done = await typed(store, *words)
            assert done.returncode == code and said in done.stderr, (words, done)
            assert "Traceback" not in done.stderr and "\x1b" not in done.stderr
