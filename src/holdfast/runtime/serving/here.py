"""What belongs here: a runner that owns some of the shards takes nothing of the others from its peers.

Whoever asks for what is not served here is told so, surely not executed, and looks for the owner himself. Nothing is
passed on, so nothing can go round in a circle.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.errors import EntityNotAssignedToRunner
from holdfast.model.address import Address
from holdfast.ports.reads import JobReader, MessageReader
from holdfast.ports.territory import Territory


class Here:
    """Raises EntityNotAssignedToRunner for what another runner owns; what nobody knows is no such thing."""

    def __init__(
        self,
        *,
        territory: Territory | None,
        shard_of: Callable[[Address], int],
        jobs: JobReader,
        messages: MessageReader,
    ) -> None:
        """`territory` None: everything is served here."""
        self._territory = territory
        self._shard_of = shard_of
        self._jobs = jobs
        self._messages = messages

    def check_entity(self, address: Address) -> None:
        if self._territory is not None:
            self._check(self._shard_of(address), str(address))

    async def check_job(self, number: int) -> None:
        """One that has ended belongs everywhere, but for its replay."""
        if self._territory is not None and (row := await self._jobs.live(number)) is not None:
            self._check(row.shard, f"job {number}")

    async def check_dead_job(self, number: int) -> None:
        if self._territory is not None and (row := await self._jobs.archived(number)) is not None:
            self._check(row.shard, f"job {number}")

    async def check_message(self, number: int) -> None:
        """The same of a durable message."""
        if self._territory is not None and (row := await self._messages.by_id(number)) is not None:
            self._check(row.shard, f"message {number}")

    async def check_letter(self, number: int) -> None:
        if self._territory is None:
            return
        found = await self._messages.dead(after=number - 1, limit=1)
        if found and found[0].id == number:
            self._check(found[0].shard, f"message {number}")

    def _check(self, shard: int, what: str) -> None:
        if self._territory is not None and not self._territory.serves(shard):
            raise EntityNotAssignedToRunner(f"{what} is not served by this runner")
