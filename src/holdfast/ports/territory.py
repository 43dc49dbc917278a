"""What this runner may take up."""

from __future__ import annotations

from typing import Protocol


class Territory(Protocol):
    """The shards this runner serves, as they are at this moment; one instance for the whole runner.

    Owning a shard is not enough: from taking it until what is stored for it has been read, and from the decision to
    give it away, it is not served.
    """

    def serves(self, shard: int) -> bool:
        """Whether new work for this shard may be admitted here now. Cheap; belongs to the event loop."""
        ...
