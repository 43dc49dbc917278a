"""The shards this runner owns, and how far it is with each."""

from __future__ import annotations

import enum
from collections.abc import Collection

from holdfast.model.cluster import ShardRow

from .knowledge import ShardKnowledge


class Phase(enum.Enum):
    """How far this runner is with a shard it owns."""

    TAKING = "taking"
    """What is stored for it is being read."""
    SERVED = "served"
    GIVING = "giving"
    """Its gate is closed: what is under way ends, then another runner gets it."""


class Holdings:
    """One's own shards with their phases, beside what is known of all."""

    def __init__(self) -> None:
        self.runner_id = 0
        self.known = ShardKnowledge()
        self.phases: dict[int, Phase] = {}
        self.served: set[int] = set()
        """Those in the phase SERVED; kept apart because it is asked often."""

    def learn(self, rows: Collection[ShardRow]) -> list[int]:
        """Takes in what is news, and returns those of these shards that are one's own by now and have no phase yet.

        Also where that is no news: a shard may have come back before the answer by which it went.
        """
        told = dict.fromkeys(row.number for row in rows)
        self.known.learn(rows)
        return [shard for shard in told if self.known.owner(shard) == self.runner_id and shard not in self.phases]

    def enter(self, shard: int, phase: Phase) -> None:
        self.phases[shard] = phase
        if phase is Phase.SERVED:
            self.served.add(shard)
        else:
            self.served.discard(shard)

    def drop(self, shard: int) -> None:
        """It is not one's own any more."""
        self.phases.pop(shard, None)
        self.served.discard(shard)

    def drop_all(self) -> int:
        """Returns how many there were."""
        count = len(self.phases)
        self.phases.clear()
        self.served.clear()
        return count

    def strayed(self) -> list[int]:
        """Shards held here that somebody else owns by now, without having been given: the incarnation was reaped."""
        return [
            shard
            for shard, phase in self.phases.items()
            if phase is not Phase.GIVING and self.known.owner(shard) != self.runner_id
        ]
