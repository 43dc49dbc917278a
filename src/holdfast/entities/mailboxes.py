"""The mailboxes that are not empty, for whoever asks how much waits in them and for how long.

The manager enters an activation when a message has to wait, and strikes it off when its mailbox has run empty. A
scrape, in a thread of its own, looks at those alone: entities that nobody waits for cost it nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import perf_counter

from holdfast.metrics import Labels, label

from .turns import Activation


class Mailboxes:
    """`enter` and `leave` belong to the loop's thread; the readings may be taken on any."""

    __slots__ = ("_labels", "_waiting")

    def __init__(self, entity_types: Iterable[str]) -> None:
        self._labels: dict[str, Labels] = {name: label(entity_type=name) for name in entity_types}
        self._waiting: set[Activation] = set()

    def enter(self, activation: Activation) -> None:
        self._waiting.add(activation)

    def leave(self, activation: Activation) -> None:
        self._waiting.discard(activation)

    def depths(self) -> Mapping[Labels, float]:
        """Messages waiting, by entity type; those that wait for an earlier one to be tried again among them."""
        depths = dict.fromkeys(self._labels.values(), 0.0)
        for activation in list(self._waiting):  # copied in one step, as the loop goes on changing it
            depths[self._labels[activation.hosted.type.name]] += activation.queued
        return depths

    def oldest_ages_s(self) -> Mapping[Labels, float]:
        """Seconds that the longest waiting message waits, by entity type; 0 where none does."""
        now = perf_counter()
        ages = dict.fromkeys(self._labels.values(), 0.0)
        for activation in list(self._waiting):
            labels = self._labels[activation.hosted.type.name]
            for queue in (activation.waiting, activation.held):
                for first in list(queue or ())[:1]:
                    ages[labels] = max(ages[labels], now - first.queued_at)
        return ages
