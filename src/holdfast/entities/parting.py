"""Why entities leave this runner, as those who wait for them hear it."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.errors import EntityNotAssignedToRunner, MessageError, RunnerNotRegistered, RunnerUnavailable


class Parting(NamedTuple):
    """`reason` is what the metrics call it."""

    reason: str
    kind: type[MessageError]
    text: str

    def refused(self) -> MessageError:
        """For who surely left no trace here."""
        return self.kind(self.text, executed="no")

    def unknown(self) -> MessageError:
        """For whose message is stored, or was being handled: where it goes on, its outcome will be known."""
        return self.kind(self.text, executed="unknown")


MOVED = Parting("moved", EntityNotAssignedToRunner, "the entity has moved to another runner")
STOPPED = Parting("stopped", RunnerUnavailable, "this runner is stopping")
LOST = Parting("lost", RunnerNotRegistered, "this runner has lost its lease")
