"""An entity type on this runner: its declaration, its bounds and its numbers, bound once."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.ports.journal import Transaction
from holdfast.settings import EntitySettings

from .entity_type import EntityType


class Reach(Protocol):
    """What handlers reach through their instance."""

    def ref(self, entity: type[Any], entity_id: str) -> Any: ...

    def own(self, address: Address, message: str) -> Any: ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    def cancel_timer(self, address: Address, name: str) -> Coroutine[Any, Any, bool]: ...


class Hosted:
    """What every activation of a type shares."""

    __slots__ = (
        "activated",
        "activation_seconds",
        "duplicates",
        "handlers",
        "idle_after",
        "instances",
        "lifetime_seconds",
        "mailbox",
        "metrics",
        "reach",
        "received",
        "redeliveries",
        "sent",
        "stateless",
        "type",
        "wait_seconds",
    )

    def __init__(
        self, entity_type: EntityType, settings: EntitySettings, metrics: MetricsService, reach: Reach
    ) -> None:
        self.type = entity_type
        self.stateless = entity_type.state_codec is None
        self.reach = reach
        self.mailbox = entity_type.mailbox or settings.mailbox
        self.idle_after = entity_type.idle_after or settings.idle_after
        self.metrics = metrics
        cluster, name = metrics.cluster, entity_type.name
        self.received = cluster.meter(operation="receive", entity_type=name)
        self.sent = cluster.meter(operation="send", entity_type=name)
        self.handlers = entity_type.handlers
        for handler in self.handlers.values():
            handler.observe = cluster.handler.labels(entity_type=name, method=handler.name).observe
        self.wait_seconds = cluster.mailbox_wait.labels(entity_type=name)
        self.redeliveries = cluster.redeliveries.labels(entity_type=name)
        self.duplicates = cluster.duplicates.labels(entity_type=name)
        self.activated = cluster.entity_activations.labels(entity_type=name)
        self.activation_seconds = cluster.entity_activation.labels(entity_type=name)
        self.lifetime_seconds = cluster.entity_lifetime.labels(entity_type=name)
        self.instances = 0

    def deactivated(self, reason: str) -> None:
        """An instance has left memory."""
        self.metrics.cluster.entity_deactivations.labels(entity_type=self.type.name, reason=reason).inc()

    def died(self, reason: str) -> None:
        """A message has become a dead letter."""
        self.metrics.cluster.dead_letters.labels(entity_type=self.type.name, reason=reason).inc()
