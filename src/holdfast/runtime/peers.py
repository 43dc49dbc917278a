"""The other runners of a shared store: how this one reaches them, and where they find it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.entities.entity_type import EntityType
from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.ports.store import RunnerStore
from holdfast.ports.transport import Network
from holdfast.settings import Settings

from .remote.elsewhere import Elsewhere
from .remote.links import Dialling, LinksByOwner, Routes
from .remote.places import Places


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """What a runner knows of the others from its configuration."""

    network: Network
    token: str = ""
    advertise: str = ""
    """The address that others are told; empty for the one it listens on."""
    weight: float = 1.0
    """Its share of the shards beside others."""


def way_to(
    peers: Peers,
    *,
    store: RunnerStore,
    routes: Routes,
    runner_id: Callable[[], int],
    software: str,
    entity_types: Mapping[type[Any], EntityType],
    groups: Mapping[str, str],
    ids: IdPool,
    wheel: DeadlineWheel,
    settings: Settings,
    metrics: MetricsService,
    clock: Clock,
    rng: random.Random,
) -> Elsewhere:
    """The doors to what the others own. `runner_id` is this runner's, whichever it is by then."""
    places = Places(store, shards=settings.cluster.shards, groups=groups)
    dialling = Dialling(
        network=peers.network,
        cluster_id=store.cluster_id,
        software=software,
        rng=rng,
        token=peers.token,
        runner_id=runner_id,
    )
    return Elsewhere(
        store=store,
        links=LinksByOwner(routes=routes, dialling=dialling, shard_of=places.of_entity),
        ids=ids,
        places=places,
        entity_types=entity_types,
        wheel=wheel,
        settings=settings,
        metrics=metrics,
        clock=clock,
    )
