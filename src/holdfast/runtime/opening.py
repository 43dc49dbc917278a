"""Opening a node: from an App and its configuration to something that runs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from holdfast.entities.door import Link
from holdfast.entities.entity_type import EntityType
from holdfast.jobs.definition import Job
from holdfast.kit.clock import Clock, SystemClock
from holdfast.metrics import MetricsService
from holdfast.settings import Settings
from holdfast.storage.open import open_runner_store

from .config import NodeConfig
from .runner import Runner


async def open_runner(
    config: NodeConfig,
    *,
    entity_types: Mapping[type[Any], EntityType],
    job_types: Mapping[str, Job[..., Any]],
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
    store = await open_runner_store(config.store, clock=clock)
    runner = Runner(
        store=store,
        entity_types=entity_types,
        job_types=job_types,
        link=link,
        settings=settings,
        metrics=metrics,
        clock=clock,
        rng=rng or random.Random(),
        http=http,
    )
    try:
        await runner.start()
    except BaseException:
        await runner.stop()
        raise
    return runner
