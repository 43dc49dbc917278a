"""Opening a node: from an App and its configuration to something that runs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from holdfast.cluster.routing import Routes
from holdfast.entities.door import Link
from holdfast.entities.entity_type import EntityType
from holdfast.jobs.definition import Job
from holdfast.kit.clock import Clock, SystemClock
from holdfast.metrics import MetricsService
from holdfast.settings import Settings
from holdfast.storage.open import open_client_store, open_runner_store
from holdfast.storage.urls import scheme, sqlite_path
from holdfast.transport import SocketNetwork

from .client import Client
from .config import ANY_PORT_HERE, NodeConfig
from .groups import group_of_type
from .peers import Peers
from .runner import SOFTWARE, Runner
from .serving.front import Front
from .standing import Orders


async def open_runner(
    config: NodeConfig,
    *,
    entity_types: Mapping[type[Any], EntityType],
    job_types: Mapping[str, Job[..., Any]],
    orders: Orders,
    link: Link,
    settings: Settings,
    metrics: MetricsService,
    http: str | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> Runner:
    """A runner that serves; `http` is where its operations pages are.

    Raises StoreUnavailable, SchemaMismatch, ConfigurationError; nothing is left open then.
    """
    clock = clock or SystemClock()
    address = listen_address(config)
    network = network_of(config, settings)
    store = await open_runner_store(
        config.store, clock=clock, direct_url=config.store_direct, pooled=config.store_pooled
    )
    front = address and Front(
        network=network,
        address=address,
        store=store,
        settings=settings,
        software=SOFTWARE,
        token=config.cluster_token,
    )
    advertise = tcp_address(config.advertise) if config.advertise else ""
    peers = Peers(network=network, token=config.cluster_token, advertise=advertise) if is_shared(config) else None
    runner = Runner(
        store=store,
        entity_types=entity_types,
        job_types=job_types,
        orders=orders,
        link=link,
        settings=settings,
        metrics=metrics,
        clock=clock,
        rng=rng or random.Random(),
        http=http,
        front=front or None,
        peers=peers,
    )
    try:
        await runner.start()
    except BaseException:
        await runner.stop()
        raise
    return runner


async def open_client(
    config: NodeConfig,
    *,
    entity_types: Mapping[type[Any], EntityType],
    job_types: Mapping[str, Job[..., Any]],
    settings: Settings,
    metrics: MetricsService,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> Client:
    """A client that has looked for a runner. Raises as `open_runner`; that no runner answers is no error."""
    clock = clock or SystemClock()
    network = network_of(config, settings)
    store = await open_client_store(
        config.store, clock=clock, direct_url=config.store_direct, pooled=config.store_pooled
    )
    client = Client(
        store=store,
        network=network,
        entity_types=entity_types,
        settings=settings,
        metrics=metrics,
        clock=clock,
        rng=rng or random.Random(),
        software=SOFTWARE,
        group_of_type=group_of_type(entity_types.values(), job_types.values()),
        token=config.cluster_token,
        routes=Routes(reader=store.membership, clock=clock) if is_shared(config) else None,
    )
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise
    return client


def is_shared(config: NodeConfig) -> bool:
    """Whether several runners may serve this store."""
    return scheme(config.store) in ("postgresql", "postgres")


def network_of(config: NodeConfig, settings: Settings) -> SocketNetwork:
    """Sockets, with TLS where the configuration has it. Raises ConfigurationError for unusable certificates."""
    tls = config.tls
    return SocketNetwork(settings.transport, server_tls=tls.server(), client_tls=tls.client(), tls_name=tls.name)


def listen_address(config: NodeConfig) -> str | None:
    """Where the runner of this store listens; None for a store that only its own process can use."""
    match scheme(config.store):
        case "sqlite":
            return f"unix:{sqlite_path(config.store)}.sock"
        case "postgresql" | "postgres":
            return tcp_address(config.listen or ANY_PORT_HERE)
        case _:
            return None


def tcp_address(address: tuple[str, int]) -> str:
    """`tcp:HOST:PORT` of the two."""
    host, port = address
    return f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"
