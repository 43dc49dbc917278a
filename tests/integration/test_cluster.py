"""Several runners on one PostgreSQL: real processes that share the work, die, and give it away."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from holdfast.errors import MessageError
from tests.integration.processes import RunnerProcess, runner_process
from tests.integration.shop import Cart, Line, app, double
from tests.support.postgres import emptied_schema

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PATIENCE_S = 120.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def url(postgres_servers: Callable[[str], str]) -> AsyncIterator[str]:
    async with emptied_schema(postgres_servers("postgres")) as url:
        yield url


@pytest.fixture
def runners(url: str) -> Iterator[list[RunnerProcess]]:
    """Three, started together."""
    with ExitStack() as stack:
        processes = [stack.enter_context(runner_process(url)) for _ in range(3)]
        for process in processes:
            process.begin()
        for process in processes:
            process.serving()
        yield processes


@pytest.fixture
async def client(runners: list[RunnerProcess], url: str) -> AsyncIterator[None]:
    async with app.client(store=url):
        await shared_out(3)
        yield


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    """Asks again until it is so: for what other processes do in their own time."""
    async with asyncio.timeout(PATIENCE_S):
        while not await seen():  # noqa: ASYNC110 - there is no event to wait for in another process
            await asyncio.sleep(0.05)


async def shared_out(runners: int) -> None:
    """Returns once so many runners own all shards, and nothing is left to even out."""

    async def even() -> bool:
        owned = Counter(shard.runner_id for shard in await app.cluster.shards())
        return len(owned) == runners and 0 not in owned and max(owned.values()) - min(owned.values()) <= 1

    await until(even)


def carts(count: int) -> list[Cart]:
    name = uuid4().hex
    return [app.ref(Cart, f"{name}-{number}") for number in range(count)]


async def test_calls_sends_and_jobs_reach_whoever_owns_them(client: None) -> None:
    found = carts(60)
    owners = {(await app.cluster.where(Cart, cart._address.entity_id)).runner_id for cart in found}  # type: ignore[attr-defined,union-attr]
    assert len(owners) == 3
    assert [lines[0].qty for lines in await asyncio.gather(*(cart.add(Line("fig", 2)) for cart in found))] == [2] * 60
    assert await asyncio.gather(*(cart.note(number) for number, cart in enumerate(found))) == [1] * 60
    receipts = await asyncio.gather(*(cart.note.send(7) for cart in found))
    assert await asyncio.gather(*(app.cluster.result(receipt) for receipt in receipts)) == [2] * 60
    handles = await asyncio.gather(*(double.submit(number) for number in range(60)))
    assert [await handle.result(timeout=PATIENCE_S) for handle in handles] == [2 * number for number in range(60)]


async def test_every_live_instance_hears_a_broadcast(client: None) -> None:
    found = carts(30)
    await asyncio.gather(*(cart.interruptions() for cart in found))
    replies = await app.cluster.broadcast(Cart.interruptions)
    assert len(replies) >= 30
    assert set(replies) == {0}


async def test_the_entities_of_a_killed_runner_answer_elsewhere_with_all_they_had(
    client: None, runners: list[RunnerProcess]
) -> None:
    found = carts(60)
    await asyncio.gather(*(cart.note(number) for number, cart in enumerate(found)))
    runners[0].kill()
    noted = await asyncio.gather(*(cart.note.opts(timeout=PATIENCE_S)(-1) for cart in found))
    assert noted == [2] * 60
    await shared_out(2)


async def test_a_drained_runner_leaves_no_gap_and_loses_nothing(client: None, runners: list[RunnerProcess]) -> None:
    """Callers that never stop see no error, and each message is there once."""
    found, stop = carts(16), asyncio.Event()
    sent: Counter[int] = Counter()

    async def call(number: int, cart: Cart) -> None:
        while not stop.is_set():
            sent[number] += 1
            assert await cart.note.opts(timeout=PATIENCE_S)(sent[number]) == sent[number]

    async with asyncio.TaskGroup() as callers:
        for number, cart in enumerate(found):
            callers.create_task(call(number, cart))
        await asyncio.to_thread(runners[1].stop)
        await shared_out(2)
        stop.set()
    for number, cart in enumerate(found):
        assert await cart.numbers() == list(range(1, sent[number] + 1))


async def test_a_frozen_runner_is_replaced_and_its_late_answers_count_for_nothing(
    client: None, runners: list[RunnerProcess]
) -> None:
    found = carts(40)
    await asyncio.gather(*(cart.note(1) for cart in found))
    runners[2].pause()
    try:
        outcomes = await asyncio.gather(
            *(cart.note.opts(timeout=PATIENCE_S)(2) for cart in found), return_exceptions=True
        )
    finally:
        runners[2].go_on()
    assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    await shared_out(3)
    assert await asyncio.gather(*(cart.numbers.opts(timeout=PATIENCE_S)() for cart in found)) == [[1, 2]] * 40


async def test_a_volatile_call_says_that_it_may_have_run(client: None, runners: list[RunnerProcess]) -> None:
    found = carts(60)
    await asyncio.gather(*(cart.interruptions() for cart in found))
    calls = [asyncio.ensure_future(cart.sleep.opts(timeout=PATIENCE_S)(3600.0)) for cart in found]
    await asyncio.sleep(0)  # they are sent,
    await app.cluster.runners()  # and something behind them was answered
    runners[0].kill()
    done, waiting = await asyncio.wait(calls, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    assert done
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for call in done:
        error = call.exception()
        assert isinstance(error, MessageError)
        assert error.executed == "unknown"


SHOP = """
from holdfast import App, Entity, message

app = App("many")

@app.entity
class Door(Entity[None]):
    @message
    async def pid(self) -> int:
        import os
        return os.getpid()
"""

TOKEN = "a token for the gateway"
ASK = """
import asyncio, many
async def main():
    async with many.app.client():
        pids = set()
        async with asyncio.timeout(100):
            while len(pids) < 2:
                pids = set(await asyncio.gather(*(many.app.ref(many.Door, str(n)).pid() for n in range(40))))
        print(sorted(pids))
asyncio.run(main())
"""


def through_gateway(url: str) -> object:
    request = urllib.request.Request(url, data=b"{}", headers={"Authorization": f"Bearer {TOKEN}"}, method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)["result"]


async def test_several_runners_under_one_command_serve_one_page_and_end_together(url: str, tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(SHOP)
    environment = {**os.environ, "HOLDFAST_STORE": url, "HOLDFAST_GATEWAY_TOKEN": TOKEN}
    command = [sys.executable, "-m", "holdfast", "run", "many:app", "--runners", "2"]
    command += ["--http", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]
    process = await asyncio.to_thread(
        subprocess.Popen, command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = await asyncio.to_thread(process.stdout.readline)
        page = re.search(r"http://\S+", said)
        assert page is not None, said
        gateway = (await asyncio.to_thread(process.stdout.readline)).split()[-1]
        ask = [sys.executable, "-c", ASK]
        asked = await asyncio.to_thread(
            subprocess.run, ask, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert asked.returncode == 0, asked.stderr
        assert len(json.loads(asked.stdout)) == 2

        def scrape() -> str:
            with urllib.request.urlopen(page[0], timeout=PATIENCE_S) as answer:
                text: str = answer.read().decode()
            return text

        async def says_so() -> bool:
            text = await asyncio.to_thread(scrape)  # while shards move the sum of a moment may be another one
            return "cluster_shards_assigned 64" in text and "cluster_runners_total 2" in text

        await until(says_so)
        text = await asyncio.to_thread(scrape)
        url = f"http://{gateway}/v1/entities/Door"
        doors = [await asyncio.to_thread(through_gateway, f"{url}/{number}/pid") for number in range(40)]
        assert set(doors) == set(json.loads(asked.stdout)), "whichever runner took the connection, its owner answers"
        open_now = re.findall(r'storage_connections\{state="\w+"\} (\d+)', text)
        assert sum(map(int, open_now)) > 0
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
