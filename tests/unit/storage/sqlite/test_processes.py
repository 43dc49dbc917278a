"""Several processes on one file: one runner, and clients that write beside it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.errors import PersistenceError, StoreUnavailable
from holdfast.kit.clock import SystemClock
from holdfast.model.inbox import InboxKind
from holdfast.storage.open import open_client_store, open_runner_store
from holdfast.storage.sqlite import connection
from holdfast.storage.sqlite.gate import gate
from holdfast.storage.sqlite.lock import RunnerLock
from holdfast.storage.sqlite.store import SqliteOptions, open_client, open_runner
from tests.conformance.rows import DONE, REGISTRATION, STATE, unit
from tests.support.membership import claim_all

from .test_kill import start


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Closes its input, waits for its end, and returns what else it said."""
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return said.split("\n")[:-1]


async def test_a_second_runner_is_told_who_holds_the_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    holder = start("hold", url)
    assert line(holder) == "holding"
    with pytest.raises(StoreUnavailable, match=rf"process {holder.pid}\).*unix:/run/here"):
        await open_runner_store(url)
    finish(holder)
    store = await open_runner_store(url)
    await store.close()


async def test_the_lock_survives_what_this_process_opens_and_closes(tmp_path: Path) -> None:
    """Closing any descriptor of the lock file in this process would give the lock up."""
    url = f"sqlite:///{tmp_path}/store.db"
    store = await open_runner_store(url)
    with pytest.raises(StoreUnavailable, match="very process"):
        await open_runner_store(url)
    client = await open_client_store(url)
    await client.close()
    other = start("hold", url)
    assert line(other).startswith("refused")
    finish(other)
    await store.close()


def test_a_lock_is_taken_again_after_its_release(tmp_path: Path) -> None:
    lock = RunnerLock(str(tmp_path / "store.db"))
    lock.take()
    lock.release()
    lock.release()
    lock.take()
    lock.release()


async def test_ids_are_never_handed_out_twice_across_processes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    runner = await open_runner_store(url)
    clients = [start("allocate", url, "20") for _ in range(3)]
    firsts = [await runner.ids.allocate(10) for _ in range(20)]
    for client in clients:
        said = [int(first) for first in await asyncio.to_thread(finish, client)]
        assert said == sorted(said) and len(said) == 20
        firsts += said
    taken = [number for first in firsts for number in range(first, first + 10)]
    assert len(set(taken)) == len(taken)
    await runner.close()


async def test_clients_and_a_busy_runner_both_get_on(tmp_path: Path) -> None:
    """The runner commits without a pause while clients write row by row; who has waited for long asks again."""
    url = f"sqlite:///{tmp_path}/store.db"
    runner = await open_runner_store(url)
    await runner.membership.register(REGISTRATION)
    clients = [start("leave", url, str(number * 1_000), "15") for number in range(1, 4)]
    said = [asyncio.ensure_future(asyncio.to_thread(finish, client)) for client in clients]
    commits = 0
    while not all(task.done() for task in said):
        with suppress(PersistenceError):  # a client's sync took longer than the runner waits
            runner.journal.commit([unit(DONE._replace(id=commits + 1))])
            commits += 1
        await asyncio.sleep(0)
    assert [len(await task) for task in said] == [15, 15, 15]
    left = [row.id for row in await runner.inbox_reader.inbox(limit=100)]
    assert left == [number * 1_000 + place for number in range(1, 4) for place in range(15)]
    assert commits > 20
    await runner.close()


async def test_the_runner_notices_what_others_wrote_and_not_what_it_wrote(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    runner, client = await open_runner_store(url), await open_client_store(url)
    await runner.membership.register(REGISTRATION)
    await runner.inbox_changed(), await client.inbox_changed()
    runner.journal.commit([unit(STATE)])
    assert await runner.inbox_changed() is False
    assert await client.inbox_changed() is True
    await client.inbox.leave([(1, 3, InboxKind.MESSAGE, b"row")])
    assert await runner.inbox_changed() is True
    assert await runner.inbox_changed() is False
    await client.close()
    await runner.close()


async def test_a_client_reads_what_the_runner_wrote(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    runner, client = await open_runner_store(url), await open_client_store(url)
    await runner.membership.register(REGISTRATION)
    await claim_all(runner, 1, shards=8)
    runner.journal.commit([unit(DONE._replace(id=1))])
    assert await client.messages.done(1) == DONE._replace(id=1)
    assert await client.runner_address() == "unix:/run/here"
    assert await client.shard_count("default") == 8
    assert await client.cluster_id() == await runner.cluster_id()
    assert len(await runner.cluster_id()) == 32
    assert (await client.ledger.ledger()).counted_by == {1: 1}
    await client.close()
    await runner.close()


async def test_clusters_have_ids_of_their_own(tmp_path: Path) -> None:
    one = await open_runner_store(f"sqlite:///{tmp_path}/one.db")
    two = await open_runner_store(f"sqlite:///{tmp_path}/two.db")
    assert await one.cluster_id() != await two.cluster_id()
    await one.close()
    await two.close()


async def test_a_client_gives_up_after_its_wait_and_has_written_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    runner = await open_runner_store(f"sqlite:///{path}")
    client = open_client(SqliteOptions(path=path, url="", clock=SystemClock(), wait_s=0.05))
    transaction = await runner.journal.begin(timeout_s=60)
    with pytest.raises(PersistenceError, match="busy"):
        await client.inbox.leave([(1, 3, InboxKind.MESSAGE, b"row")])
    await transaction.rollback()
    assert await runner.inbox_reader.inbox(limit=9) == []
    await client.inbox.leave([(1, 3, InboxKind.MESSAGE, b"row")])
    await client.close()
    await runner.close()


async def test_a_runner_gives_up_after_its_wait_and_goes_on_later(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    runner = await open_runner_store(f"sqlite:///{path}")
    await runner.membership.register(REGISTRATION)
    await claim_all(runner, 1, shards=8)
    options = SqliteOptions(path=path, url="", clock=SystemClock())
    other = options.connect()
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(PersistenceError, match="busy"):
        runner.journal.commit([unit(STATE)])
    other.execute("ROLLBACK")
    other.close()
    runner.journal.commit([unit(STATE)])
    await runner.close()


async def test_a_start_is_as_patient_as_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose write takes longer than a runner that serves would wait does not fail one that starts."""
    options = SqliteOptions(path=str(tmp_path / "store.db"), url="", clock=SystemClock(), busy_s=1.0, wait_s=5.0)
    runner, client = open_runner(options), options.connect()
    now_s = 0.0

    def sleep(_: float) -> None:
        nonlocal now_s
        now_s += 0.5
        if now_s % 3 == 0:
            client.execute("ROLLBACK")

    monkeypatch.setattr(connection, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now_s))
    for write in (
        lambda: runner.membership.ensure_groups({"default": (8, ())}),
        lambda: runner.membership.register(REGISTRATION),
        lambda: runner.membership.claim(1, range(8)),
    ):
        client.execute("BEGIN IMMEDIATE")
        await write()
    assert now_s == 9.0
    client.execute("BEGIN IMMEDIATE")
    with pytest.raises(PersistenceError, match="busy"):
        runner.journal.commit([unit(STATE)])
    assert now_s == 10.0  # its second, and no more
    client.execute("ROLLBACK")
    client.close()
    await runner.close()


def test_the_gate_lets_one_in_at_a_time_and_bounds_the_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db.gate")
    with gate(path, wait_s=1), pytest.raises(PersistenceError, match="busy"), gate(path, wait_s=0.01):
        pass
    with gate(path, wait_s=1):
        pass


def test_the_gate_is_open_after_a_visitor_died(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db.gate")
    child = os.fork()
    if child == 0:
        with gate(path, wait_s=1):
            os._exit(0)
    os.waitpid(child, 0)
    with gate(path, wait_s=1):
        pass
