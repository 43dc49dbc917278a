"""The rig: a store, runners and clients with relays in between, put up, kept and taken down."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.storage import migrations

from .audit import Audit, fresh_schema, through, with_schema
from .client import ClientConfig
from .disk import FULL_DISK, no_disk_to_fill
from .fleet import HOST, LOOPBACK, ClientProcess, Links, RunnerProcess
from .history import now
from .host import HostConfig
from .network import NETWORK_FAULTS, Network, no_network
from .postgres import LocalPostgres
from .relay import Dial
from .wallclock import STEP_CLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a run is to be."""

    seed: int
    seconds: float
    runners: int = 3
    clients: int = 1
    probers: int = 1
    """Clients that only ask whether entities answer, so that no load of their own shows as a gap."""
    lease_ttl_s: float = 6.0
    drain_timeout_s: float = 10.0
    pause_s: float = 0.02
    """Seconds between two operations of a sender: how hard clients press."""
    overlapping: int = 3
    """Faults at the same time, at most."""
    between_s: float = 2.0
    """Seconds from one fault to the next, about."""
    rest_s: float = 60.0
    """Seconds that what was accepted gets to end once nothing is broken any more."""
    kinds: Sequence[str] = ()
    """Which faults; none for all that this machine can do."""
    store: str | None = None
    host: Sequence[str] = HOST
    """The command that is a runner; the positive controls have others."""
    keep: bool = False

    def wants(self, *kinds: str) -> bool:
        """Whether one of these faults may come."""
        return not self.kinds or not set(kinds).isdisjoint(self.kinds)


@dataclass(slots=True, kw_only=True)
class Rig:
    """What faults are done to."""

    plan: Plan
    folder: Path
    postgres: LocalPostgres | None
    """Its own; a store that was given is not to be killed."""
    network: Network | None
    """None where runners are on the loopback."""
    audit: Audit
    store: str
    runners: list[RunnerProcess]
    clients: list[ClientProcess]
    probers: list[ClientProcess]
    started: float

    @property
    def members(self) -> list[RunnerProcess | ClientProcess]:
        return [*self.runners, *self.clients, *self.probers]

    def say(self, what: str) -> None:
        """To whoever waits, with the seconds since the start."""
        progress(f"verify: {now() - self.started:6.1f} s  {what}")

    async def heal(self) -> None:
        """Nothing is broken any more, and every runner serves."""
        if self.postgres is not None:
            self.postgres.thaw()
            if self.postgres.disk is not None:
                self.postgres.disk.clear()
            await self.postgres.serves()
        for member in self.members:
            member.links.mend()
            member.thaw()
        await asyncio.gather(*(runner.start() for runner in self.runners if not runner.runs))


def progress(said: str) -> None:
    print(said, file=sys.stderr, flush=True)


@asynccontextmanager
async def rig_for(plan: Plan) -> AsyncGenerator[Rig, None]:
    """Up when it is entered, and gone without a trace when it is left."""
    folder = _make_folder()
    postgres: LocalPostgres | None = None
    network: Network | None = None
    members: list[RunnerProcess | ClientProcess] = []
    audit: Audit | None = None
    try:
        if plan.store is None:
            progress("verify: making a PostgreSQL")
            postgres = LocalPostgres(
                folder / "postgres", small_disk=plan.wants(FULL_DISK) and no_disk_to_fill() is None
            )
            await asyncio.to_thread(postgres.create)
            await postgres.start()
            url, dial = postgres.url, _dial_socket(postgres.socket)
        else:
            url, dial = plan.store, _dial_to(plan.store)
        schema = fresh_schema()
        audit = Audit(url, schema)
        await audit.make_schema()
        await migrations.apply(with_schema(url, schema))
        await audit.make_tables()
        if plan.wants(*NETWORK_FAULTS) and no_network() is None:
            network = await asyncio.to_thread(Network, plan.runners)
        make = _Makers(plan=plan, folder=folder, url=url, schema=schema, dial=dial, network=network)
        rig = await _populate(make, postgres, audit, members)
        progress(f"verify: {len(rig.runners)} runners and {len(rig.clients) + len(rig.probers)} clients serve and work")
        yield rig
    finally:
        for member in members:
            await member.kill() if member.runs else None
        for member in members:
            await member.links.close()
        if network is not None:
            network.close()
        if audit is not None:
            await audit.close()
        if postgres is not None:
            await postgres.stop()
        elif audit is not None and not plan.keep:
            await audit.drop_schema()
        if not plan.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-verify-"))
    folder.chmod(0o711)  # the server's own folder is another user's
    for name in ("events", "logs"):
        (folder / name).mkdir(mode=0o700)
    return folder


def _dial_socket(path: str) -> Dial:
    return lambda: asyncio.open_unix_connection(path)


def _dial_to(url: str) -> Dial:
    parts = urlsplit(url)
    query = dict(one.split("=", 1) for one in parts.query.split("&") if "=" in one)
    host, port = parts.hostname or query.get("host", "localhost"), parts.port or int(query.get("port", "5432"))
    if host.startswith("/"):
        return _dial_socket(f"{host}/.s.PGSQL.{port}")
    return lambda: asyncio.open_connection(host, port)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Makers:
    """What makes the members of a rig: each with links of its own, and told to use them."""

    plan: Plan
    folder: Path
    url: str
    schema: str
    dial: Dial
    network: Network | None

    async def links(self, name: str, *, runner: int | None = None) -> Links:
        if self.network is None or runner is None:
            made = Links(self.folder / name, self.dial)
        else:
            made = Links(self.folder / name, self.dial, host=self.network.host, cable=self.network.cables[runner])
        await made.open()
        return made

    async def runner(self, number: int) -> RunnerProcess:
        name = f"runner-{number}"

        def config(links: Links) -> HostConfig:
            return HostConfig(
                name=name,
                parent=os.getpid(),
                folder=str(self.folder / "events"),
                store=self._store_through(links),
                listen=f"{LOOPBACK}:{links.port}",
                advertise=links.advertised,
                lease_ttl_s=self.plan.lease_ttl_s,
                drain_timeout_s=self.plan.drain_timeout_s,
            )

        links = await self.links(f"r{number}", runner=number)
        return RunnerProcess(
            name,
            links=links,
            config=config,
            command=self.plan.host,
            logs=self.folder / "logs",
            clock_steps=self.plan.wants(STEP_CLOCK),
        )

    async def client(self, name: str, *, probes: bool = False) -> ClientProcess:
        def config(life: str, links: Links) -> ClientConfig:
            return ClientConfig(
                name=life,
                parent=os.getpid(),
                store=self._store_through(links),
                folder=str(self.folder / "events"),
                seed=self.plan.seed,
                lease_ttl_s=self.plan.lease_ttl_s,
                pause_s=self.plan.pause_s,
                rest_s=self.plan.rest_s,
                probes=probes,
            )

        return ClientProcess(name, links=await self.links(name), config=config, logs=self.folder / "logs")

    def _store_through(self, links: Links) -> str:
        return with_schema(through(self.url, links.store_at), self.schema)


async def _populate(
    make: _Makers, postgres: LocalPostgres | None, audit: Audit, members: list[RunnerProcess | ClientProcess]
) -> Rig:
    """`members` holds whatever there is, also where the rest can't be made."""
    plan = make.plan
    runners = [await make.runner(number) for number in range(plan.runners)]
    members += runners
    await asyncio.gather(*(runner.start() for runner in runners))
    clients = [await make.client(f"client-{number}") for number in range(plan.clients)]
    probers = [await make.client(f"prober-{number}", probes=True) for number in range(plan.probers)]
    members += [*clients, *probers]
    await asyncio.gather(*(one.start() for one in (*clients, *probers)))
    return Rig(
        plan=plan,
        folder=make.folder,
        postgres=postgres,
        network=make.network,
        audit=audit,
        store=with_schema(make.url, make.schema),
        runners=runners,
        clients=clients,
        probers=probers,
        started=now(),
    )
