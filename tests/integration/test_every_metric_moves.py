"""No dead metrics: a running system is driven through everything its metrics are about, and each of them moves.

What moved is read where operators read it, from `/metrics` over HTTP. At the end, with everything at rest, the counters
are held against the ledger of the store; then the runner is fenced off, which is the last thing that can happen to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast import App, Entity, Module, Settings, job_context, message, stream
from holdfast.admin.reconcile import Finding, disagreements, reconcile
from holdfast.entities import engine as entity_engine
from holdfast.errors import JobDead, MailboxFull, MessageDead, PersistenceError
from holdfast.jobs import engine as job_engine
from holdfast.metrics import BY_NAME, CATALOGUE, Kind
from holdfast.model.ledger import Ledger
from holdfast.settings import ClusterSettings, EntitySettings, JobSettings
from holdfast.storage.open import open_client_store
from holdfast.storage.sqlite.connection import open_connection

PATIENCE_S = 120.0

NOT_HERE = {
    "cluster_shard_handoff_seconds": "tests/unit/cluster/test_ownership.py hands shards over",
    "storage_connections": "tests/integration/test_cluster.py has PostgreSQL",
    "workers_crashes_total": "tests/unit/jobs has processes that are killed",
    "jobs_schedule_missed_total": "tests/behaviour has schedules, in virtual time: a minute is their shortest step",
    "workers_queue_depth": "tests/unit/entities has handlers that wait for a thread",
    "metrics_overflow_total": "tests/unit/metrics has programs with too many labels",
    "metrics_collector_errors_total": "tests/unit/metrics has collectors that raise",
    "workers_timeouts_total": "tests/unit/jobs has handlers that outstay their time in a thread",
}
"""What a healthy system does not move."""

SHOWN = [spec for spec in CATALOGUE if spec.name not in NOT_HERE]

SETTINGS = Settings(
    cluster=ClusterSettings(lease_renewal=0.1, drain_timeout=1.0),
    entities=EntitySettings(retry_first=0.02, retry_max=0.05),
    jobs=JobSettings(slots=2, thread_slots=1, retry_first=0.02, retry_max=0.05),
)

town = Module()
gate = asyncio.Event()
"""Handlers wait at it; every story has its own."""
thread_gate = threading.Event()


@dataclass
class Book:
    notes: list[str] = field(default_factory=list)
    tries: int = 0


@town.entity(mailbox=3)
class Desk(Entity[Book]):
    @message
    async def write(self, note: str) -> int:
        self.state.notes.append(note)
        return len(self.state.notes)

    @message
    async def wait(self) -> None:
        await gate.wait()

    @message
    async def break_down(self) -> None:
        raise ValueError("broken")

    @message(executor="thread")
    def compute(self) -> int:
        thread_gate.wait(PATIENCE_S)
        return 42

    @stream
    async def read(self) -> AsyncIterator[str]:
        for note in self.state.notes:
            yield note

    @stream
    async def misread(self) -> AsyncIterator[str]:
        yield "one"
        raise ValueError("torn page")


@town.entity(idle_after=0.05)
class Post(Entity[Book]):
    tries = 0

    @message(durable=True, dedupe="letter")
    async def deliver(self, letter: str) -> str:
        return letter

    @message(durable=True)
    async def stumble(self) -> str:
        """Falls once; what it remembers in memory is not taken back."""
        self.tries += 1
        if self.tries == 1:
            raise OSError("fell")
        return "arrived"

    @message(durable=True, max_deliveries=2)
    async def lose(self) -> None:
        raise OSError("lost")


@town.job(priority="high")
async def work(number: int) -> int:
    return number


@town.job(priority="low", max_attempts=1)
async def hold() -> None:
    await gate.wait()


@town.job
async def stumble_once() -> int:
    if job_context().attempt == 1:
        raise OSError("fell")
    return job_context().attempt


@town.job(max_attempts=1)
async def fail() -> None:
    raise OSError("failed")


@town.job(max_attempts=1, timeout=0.05)
async def dawdle() -> None:
    await asyncio.sleep(60)


@town.job
def compute(number: int) -> int:
    return number


@town.singleton
async def ring_the_bell() -> None:
    """Once a start."""


def new_app() -> App:
    return App("town", modules=[town], settings=SETTINGS)


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Looks again and again, for a bounded time."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


class Operator:
    """Scrapes `/metrics` and remembers everything that was not zero."""

    def __init__(self, app: App, url: str | None) -> None:
        assert url is not None
        self._metrics = app.metrics
        self._url = f"{url}/metrics"
        self.moved: set[str] = set()
        self.labels: dict[str, set[str]] = {}

    def value(self, name: str, **labels: str) -> float:
        """As it is now; of a gauge that nobody has shown yet, zero."""
        try:
            return self._metrics.value(name, **labels)
        except LookupError:
            return 0.0

    async def look(self) -> None:
        text = await asyncio.to_thread(self._fetch)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.value and (name := _metric(sample.name)):
                    self.moved.add(name)
                    self.labels.setdefault(name, set()).update(sample.labels)

    def _fetch(self) -> str:
        with urllib.request.urlopen(self._url, timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())


def _metric(sample: str) -> str | None:
    """The catalogue's name of a sample; of a histogram's samples the count stands for it."""
    if sample in BY_NAME and BY_NAME[sample].kind is not Kind.HISTOGRAM:
        return sample
    name = sample.removesuffix("_count")
    return name if name != sample and name in BY_NAME else None


@dataclass
class Story:
    """What a run left to look at."""

    moved: set[str]
    labels: dict[str, set[str]]
    findings: list[Finding]


async def left_by_a_killed_runner(folder: Path) -> str:
    """A store as a kill leaves it while a job runs: a copy, taken in the middle."""
    app = new_app()
    async with app.runner(store=f"sqlite:///{folder}/alive.db"):
        held = await hold.submit()
        await until(lambda: app.metrics.value("jobs_running", job_type="hold") == 1)
        with contextlib.closing(open_connection(f"{folder}/alive.db", read_only=True, busy_s=PATIENCE_S)) as connection:
            connection.execute("VACUUM INTO ?", (f"{folder}/killed.db",))
        await app.jobs.cancel(held)
    return f"sqlite:///{folder}/killed.db"


async def ledger_of(store: str) -> Ledger:
    client = await open_client_store(store)
    try:
        return await client.ledger.ledger()
    finally:
        await client.close()


async def messages(app: App, operator: Operator) -> None:
    desk, post = app.ref(Desk, "front"), app.ref(Post, "main")
    assert [await desk.write("a"), await desk.write("b")] == [1, 2]
    computed = asyncio.create_task(desk.compute())
    await until(lambda: operator.value("workers_active") == 1)
    await operator.look()
    thread_gate.set()
    assert await computed == 42
    notes = desk.read()
    assert await anext(notes) == "a"
    await operator.look()
    assert [note async for note in notes] == ["b"]
    assert await app.cluster.broadcast(Desk.write, "c") == [3]
    for broken in (desk.break_down(), _all(desk.misread())):
        with contextlib.suppress(Exception):
            await broken

    first = await post.deliver.send("l-1")
    again = await post.deliver.send("l-1")
    assert (first.duplicate, again.duplicate, again.message_id) == (False, True, first.message_id)
    assert await post.stumble() == "arrived"
    with pytest.raises(MessageDead):
        await post.lose()
    await until(lambda: operator.value("cluster_entity_deactivations_total", reason="idle") > 0)


async def a_full_mailbox(app: App, operator: Operator) -> None:
    desk = app.ref(Desk, "busy")
    await desk.write("awake")
    waiting = [asyncio.create_task(desk.wait()) for _ in range(4)]
    await until(lambda: operator.value("cluster_mailbox_depth", entity_type="Desk") == 3)
    with pytest.raises(MailboxFull):
        await desk.write("one too many")
    await operator.look()
    assert operator.value("cluster_mailbox_oldest_age_seconds", entity_type="Desk") > 0
    gate.set()
    await asyncio.gather(*waiting)
    gate.clear()
    assert operator.value("cluster_mailbox_depth") == operator.value("cluster_mailbox_oldest_age_seconds") == 0


async def jobs(app: App, operator: Operator) -> None:
    assert await (await work.submit(1)).result() == 1
    assert await (await compute.submit(2)).result() == 2
    assert await (await stumble_once.submit()).result() == 2
    keyed = [await work.opts(key="k").submit(3) for _ in range(2)]
    assert [handle.duplicate for handle in keyed] == [False, True]
    for doomed in (fail, dawdle):
        with pytest.raises(JobDead):
            await (await doomed.submit()).result()
    await until(lambda: operator.value("jobs_dlq_oldest_age_seconds", job_type="dawdle") > 0)
    await operator.look()
    letters = {letter.job_type: letter.id for letter in await app.jobs.dead_letters()}
    await app.jobs.discard(letters["dawdle"])
    with pytest.raises(JobDead):
        await (await app.jobs.replay(letters["fail"])).result()


async def a_queue(app: App, operator: Operator) -> None:
    later = await work.opts(delay=3600.0).submit(4)
    await work.opts(delay=3600.0).submit(5)  # stays
    held = [await hold.submit() for _ in range(5)]
    await until(lambda: operator.value("jobs_oldest_age_seconds", job_type="hold") > 0)
    await until(lambda: operator.value("jobs_running", job_type="hold") == 2)
    await until(lambda: operator.value("jobs_queue_depth", job_type="hold") == 3)
    await until(lambda: operator.value("jobs_worker_slots", state="busy") == 2)
    assert operator.value("jobs_scheduled", job_type="work") == 2
    await operator.look()
    await app.jobs.cancel(later)
    await app.jobs.cancel(held[0])
    gate.set()
    for handle in held[1:]:
        await handle.result()


async def at_rest(app: App, store: str, since: Ledger) -> list[Finding]:
    findings: list[Finding] = []

    async def agrees() -> bool:
        findings[:] = reconcile(app.metrics.snapshot(), await ledger_of(store), since=since)
        return not disagreements(findings)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            await until(agrees)
    return findings


async def fenced_off(app: App, store: str) -> None:
    """Another runner has taken over: nothing of this one is written any more."""
    with contextlib.closing(open_connection(store.removeprefix("sqlite:///"), busy_s=PATIENCE_S)) as connection:
        connection.execute("DELETE FROM holdfast_runner")
    with pytest.raises(PersistenceError):
        await work.submit(6)


async def story(folder: Path) -> Story:
    global gate
    gate = asyncio.Event()
    thread_gate.clear()
    store = await left_by_a_killed_runner(folder)
    since, app = await ledger_of(store), new_app()
    async with app.runner(store=store, http="127.0.0.1:0") as node:
        operator = Operator(app, node.http)
        gate.set()
        await until(lambda: operator.value("jobs_completed_total", job_type="hold") == 1)  # the rescued one
        gate.clear()
        await messages(app, operator)
        await a_full_mailbox(app, operator)
        await jobs(app, operator)
        await a_queue(app, operator)
        await until(lambda: operator.value("singleton_executions_total", singleton="ring_the_bell", outcome="ok") == 1)
        await until(lambda: operator.value("cluster_lease_renewals_total", outcome="ok") > 0)
        findings = await at_rest(app, store, since)
        await fenced_off(app, store)
        await operator.look()
    return Story(operator.moved, operator.labels, findings)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The story, told once for all tests; timers that take seconds are quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_engine, "GAUGES_EVERY_S", 0.05)
        patch.setattr(entity_engine, "PASSIVATION_EVERY_S", 0.05)
        yield asyncio.run(story(tmp_path_factory.mktemp("town")))


async def _all(elements: AsyncIterator[str]) -> list[str]:
    return [element async for element in elements]


@pytest.mark.parametrize("name", [spec.name for spec in SHOWN])
def test_it_moves(told: Story, name: str) -> None:
    """A metric that nothing moves tells nobody anything."""
    assert name in told.moved


@pytest.mark.parametrize("name", [spec.name for spec in SHOWN if spec.labels])
def test_each_of_its_labels_has_had_a_value(told: Story, name: str) -> None:
    """A label that is always empty is a mistake in the catalogue, or where the metric is counted."""
    assert set(BY_NAME[name].labels) <= told.labels.get(name, set())


def test_what_moves_elsewhere_is_known_by_name(told: Story) -> None:
    """As soon as one of them moves here it has to leave the list."""
    assert NOT_HERE.keys() <= BY_NAME.keys()
    assert told.moved & NOT_HERE.keys() == set()


def test_the_counters_reconcile_with_the_store(told: Story) -> None:
    """After retries, dead letters, replays, cancels, duplicates and a killed runner."""
    assert disagreements(told.findings) == []
    compared = {finding.what for finding in told.findings if finding.stored}
    assert compared >= {"enqueued", "completed", "cancelled", "dead", "replayed", "discarded", "redeliveries"}
