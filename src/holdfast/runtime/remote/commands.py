"""What an operator asks for while no owner answers: checked against the store as it is, then left in the inbox.

Whoever asks hears at once what is wrong with it: a job or dead letter that does not exist, or has ended. What becomes
of it is decided by the owner that takes it, and may differ, as after any request that had to wait.
"""

from __future__ import annotations

from holdfast.errors import AlreadyCancelled, MessageNotFound
from holdfast.jobs.lookup import archived_job, job_number
from holdfast.kit.ids import IdPool
from holdfast.model.address import Address
from holdfast.model.ids import JobId
from holdfast.model.inbox import Command
from holdfast.model.job import ArchivedJob, JobState
from holdfast.model.message import DeadMessageRow
from holdfast.ports.reads import JobReader, MessageReader

from .leavings import Leavings
from .places import Places


class Commands:
    """Leaves cancels, replays and discards."""

    def __init__(
        self, *, leavings: Leavings, ids: IdPool, jobs: JobReader, messages: MessageReader, places: Places
    ) -> None:
        self._leavings = leavings
        self._ids = ids
        self._jobs = jobs
        self._messages = messages
        self._places = places

    async def cancel(self, job: JobId) -> None:
        """Raises JobNotFound, and AlreadyCancelled for a job that has ended."""
        number = job_number(job)
        live = await self._jobs.live(number)
        shard = self._leavings.shard_of(number) if live is None else live.shard
        if shard is None:
            ended = await archived_job(self._jobs, number)
            raise AlreadyCancelled(f"job {number} is {ended.state} already")
        await self._leave(shard, Command("cancel", number))

    async def replay(self, job: JobId) -> int:
        """The id that the new job will have. Raises JobNotFound, AlreadyCancelled."""
        dead = await self._letter(job_number(job), "replayed")
        new = await self._ids.take()
        await self._leave(dead.shard, Command("replay", dead.id, number=new))
        return new

    async def discard(self, job: JobId) -> None:
        """Raises JobNotFound, AlreadyCancelled."""
        dead = await self._letter(job_number(job), "discarded")
        await self._leave(dead.shard, Command("discard", dead.id))

    async def replay_message(self, number: int) -> int:
        """The id that the new message will have. Raises MessageNotFound."""
        letter, new = await self._dead_message(number), await self._ids.take()
        await self._leave(letter.shard, Command("replay_message", number, number=new))
        return new

    async def discard_message(self, number: int) -> None:
        """Raises MessageNotFound."""
        await self._leave((await self._dead_message(number)).shard, Command("discard_message", number))

    async def cancel_timer(self, address: Address, name: str) -> bool:
        """False where there is no timer of this name."""
        await self._places.known()
        shard = self._places.of_entity(*address)
        if shard not in self._leavings.shards and await self._messages.timer(address, name) is None:
            return False
        await self._leave(shard, Command("cancel_timer", 0, *address, name))
        return True

    async def _leave(self, shard: int, command: Command) -> None:
        await self._leavings.leave(await self._ids.take(), shard, command)

    async def _letter(self, number: int, verb: str) -> ArchivedJob:
        dead = await archived_job(self._jobs, number)
        if dead.state != JobState.DEAD or dead.replayed_at is not None or dead.discarded_at is not None:
            raise AlreadyCancelled(f"job {number} is no dead letter (any more), so it can't be {verb}")
        return dead

    async def _dead_message(self, number: int) -> DeadMessageRow:
        found = await self._messages.dead(after=number - 1, limit=1)
        if not found or found[0].id != number:
            raise MessageNotFound(f"no dead letter {number}: it never was, or has been replayed or discarded")
        return found[0]
