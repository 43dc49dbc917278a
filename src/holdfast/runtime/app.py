"""The App: collects declarations, and opens one node per process, as a runner or as a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, ClassVar, TypeVar, cast

from holdfast.entities.door import Link
from holdfast.entities.entity import Entity
from holdfast.entities.entity_type import EntityType
from holdfast.entities.ref import Ref
from holdfast.errors import ConfigurationError, NotStarted, UsageError
from holdfast.jobs.definition import Job
from holdfast.jobs.door import JobDoor
from holdfast.metrics import MetricsService
from holdfast.model.address import Address, checked_entity_id
from holdfast.model.health import Check, Health
from holdfast.model.placement import DEFAULT_GROUP
from holdfast.schedules.definition import DeclaredSchedule
from holdfast.schedules.schedule import Scheduling, schedule_type
from holdfast.settings import Settings

from .blocking import Blocking
from .config import NodeConfig, resolve
from .declarations import Declarations, Module
from .groups import group_of_type
from .node import Node
from .opening import open_client, open_runner
from .ops import GatewayServer, HoldGateway, ServePages, held_gateway, ops_pages
from .outside import SideDoor
from .schedules import ScheduleService
from .services import ClusterService, JobService
from .standing import Orders

E = TypeVar("E", bound=Entity[Any])


class App(Declarations):
    """An application: its entities, its jobs, and the services to reach them.

    Making one opens nothing. `async with app.runner():` hosts, `async with app.client():` only talks.
    """

    serve_pages: ClassVar[ServePages | None] = None
    hold_gateway: ClassVar[HoldGateway | None] = None

    def __init__(
        self,
        name: str,
        *,
        store: str | None = None,
        modules: Sequence[Module] = (),
        settings: Settings | None = None,
        metrics: MetricsService | None = None,
    ) -> None:
        super().__init__()
        if not name or not name.isidentifier():
            raise ConfigurationError(f"an App's name is an identifier, not {name!r}: it names the default store")
        self.name = name
        self.settings = settings or Settings()
        self.metrics = metrics or MetricsService()
        self.cluster = ClusterService(self._running, self._declared)
        self._side_door = SideDoor(node=self._running, group_of=self._shard_group, settings=self.settings)
        self.jobs = JobService(self._job_door, self._side_door)
        scheduling = Scheduling(self.declared_schedules, self.metrics)
        self.orders = Orders(
            scheduling=scheduling, schedule_type=schedule_type(scheduling), singletons=self.declared_singletons
        )
        self.schedules = ScheduleService(self._running, self.orders.schedule_type, self.declared_schedules)
        self._store = store
        self._blocking = Blocking(
            loop_in_use=lambda: None if self._node is None else self._node.loop, client=self.client
        )
        self._link = Link(name, self._blocking.run, self._side_door)
        self._node: Node | None = None
        self.gateway_url: str | None = None
        for module in modules:
            self.include(module)

    def ref(self, entity: type[E], entity_id: str, /) -> E:
        """The typed client of one entity, wherever it lives. Usable from any task once a node is open."""
        declared = self._declared(entity)
        ref = Ref(self._link, Address(declared.name, checked_entity_id(entity_id)), declared.handlers)
        return cast(E, ref)

    def runner(
        self,
        *,
        store: str | None = None,
        http: str | None = None,
        gateway: str | None = None,
        listen: str | None = None,
        advertise: str | None = None,
    ) -> AbstractAsyncContextManager[Node]:
        """Hosts this App's entities and jobs while the block runs; drains at its end.

        `store`: a URL; else HOLDFAST_STORE, pyproject.toml, or `sqlite:///<name>.db`. `http`: HOST:PORT of the
        operations pages (port 0 takes a free one; `node.http` says where they are), else HOLDFAST_HTTP,
        pyproject.toml, or none. `gateway`: HOST:PORT of the HTTP gateway for programs in other languages
        (`gateway_url` says where it is), else HOLDFAST_GATEWAY, pyproject.toml, or none. `listen`: on PostgreSQL,
        HOST:PORT where other processes reach this runner, else HOLDFAST_LISTEN, pyproject.toml, or a free port for
        this machine alone; `advertise`: the HOST:PORT that they are told, if it is another. Raises StoreUnavailable,
        SchemaMismatch, ConfigurationError.
        """
        return self._host(self.config(store=store, http=http, gateway=gateway, listen=listen, advertise=advertise))

    def config(
        self,
        *,
        store: str | None = None,
        http: str | None = None,
        gateway: str | None = None,
        listen: str | None = None,
        advertise: str | None = None,
    ) -> NodeConfig:
        """What a node opened now with these arguments would use, and who said so. Raises ConfigurationError."""
        return resolve(
            self.name, store=store or self._store, http=http, gateway=gateway, listen=listen, advertise=advertise
        )

    @asynccontextmanager
    async def _host(self, config: NodeConfig) -> AsyncGenerator[Node, None]:
        async with (
            ops_pages(config, self.serve_pages, metrics=self.metrics, health=self._health) as url,
            held_gateway(config, self.hold_gateway, self) as gateway,
        ):
            opening = partial(
                open_runner,
                config,
                entity_types=self.entity_types,
                job_types=self.job_types,
                orders=self.orders,
                settings=self.settings,
                metrics=self.metrics,
                http=url,
            )
            async with self.opened(lambda link: opening(link=link)) as node, self._served(gateway):
                yield node

    def client(self, *, store: str | None = None, gateway: str | None = None) -> AbstractAsyncContextManager[Node]:
        """Talks to the runner of the store while the block runs, and hosts nothing.

        `store` and `gateway` as for `runner`. It opens also where no runner answers: then durable sends and submits
        wait in the store's inbox. Raises StoreUnavailable, also for a store that no runner has made yet,
        SchemaMismatch, ConfigurationError.
        """
        return self._talk(self.config(store=store, gateway=gateway))

    @asynccontextmanager
    async def _talk(self, config: NodeConfig) -> AsyncGenerator[Node, None]:
        opening = partial(
            open_client,
            config,
            entity_types={**self.entity_types, self.orders.schedule_type.cls: self.orders.schedule_type},
            job_types=self.job_types,
            settings=self.settings,
            metrics=self.metrics,
        )
        async with (
            held_gateway(config, self.hold_gateway, self) as gateway,
            self.opened(lambda _: opening()) as node,
            self._served(gateway),
        ):
            yield node

    @asynccontextmanager
    async def _served(self, gateway: GatewayServer | None) -> AsyncGenerator[None, None]:
        """The gateway, where there is one, answers while the block runs: it is closed before the node drains."""
        if gateway is None:
            yield
            return
        self.gateway_url = gateway.start()
        try:
            yield
        finally:
            self.gateway_url = None
            await asyncio.to_thread(gateway.stop)

    def _health(self) -> Health:
        node = self._node
        return Health.of([Check("started", False, "no node is open")]) if node is None else node.health()

    @asynccontextmanager
    async def opened(self, opening: Callable[[Link], Awaitable[Node]]) -> AsyncGenerator[Node, None]:
        """What `opening` returns is this App's node while the block runs; drains and stops it at its end."""
        if self._node is not None:
            raise UsageError(f"App {self.name!r} has a node open in this process already")
        node: Node = await opening(self._link)
        self._node = node
        self._link.open(node.entities)
        try:
            yield node
        finally:
            try:
                await node.drain()
            finally:
                self._link.close()
                self._node = None
                await node.stop()

    @property
    def node(self) -> Node:
        """The node that is open in this process. Raises NotStarted."""
        return self._running()

    def _running(self) -> Node:
        if self._node is None:
            raise NotStarted(
                f"App {self.name!r} is not running here: use `async with app.runner():` or `async with app.client():`"
            )
        return self._node

    def _job_door(self) -> JobDoor:
        return self._running().jobs

    def _declared(self, entity: type[Any]) -> EntityType:
        declared = self.entity_types.get(entity)
        if declared is None:
            raise ConfigurationError(f"{getattr(entity, '__name__', entity)} is not declared on App {self.name!r}")
        return declared

    def _shard_group(self, type_name: str) -> str:
        return group_of_type(self.entity_types.values(), self.job_types.values()).get(type_name, DEFAULT_GROUP)

    def _add_job(self, job: Job[..., Any]) -> None:
        super()._add_job(job)
        job.door = self._job_door
        job.run_blocking = self._blocking.run
        job.side_door = lambda: self._side_door

    def _add_schedule(self, schedule: DeclaredSchedule) -> None:
        super()._add_schedule(schedule)
        self.entity_types[self.orders.schedule_type.cls] = self.orders.schedule_type
