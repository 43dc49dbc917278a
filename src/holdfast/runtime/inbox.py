"""Taking the inbox: what clients left there while no runner answered goes into the tables of its owner.

A look at the store's counter of changes every 100 ms says whether another process has written; only then is the inbox
read. It is read from its beginning each time and never from a high-water mark, because ids commit out of order. Rows
are taken in the order of their ids, so that what one sender left for one entity stays in order, and each in a commit
that deletes it: it is in the inbox or in the tables, never in both and never in none.

A row that this version can't read stays where it is, for an operator or a newer version; it is logged once and holds
up nobody. So does one that waits for the outcome of an earlier message of its key. But one that has also come directly,
and whose commit is not known yet, holds up its line: if that commit fails, it has its place here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Collection
from contextlib import asynccontextmanager
from functools import partial

from holdfast.entities.engine import EntityEngine
from holdfast.entities.inbound import Stays
from holdfast.errors import (
    EntityNotAssignedToRunner,
    HoldfastError,
    JobError,
    MessageNotFound,
    RunnerNotRegistered,
    RunnerUnavailable,
)
from holdfast.jobs.engine import JobEngine
from holdfast.kit.service import Periodic
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.model.ids import job_id
from holdfast.model.inbox import AttemptEnd, Command, Entry, decode_entry
from holdfast.model.job import JobRow
from holdfast.model.message import InboxRow, MessageRow, Take
from holdfast.ports.store import RunnerStore
from holdfast.ports.territory import Territory

logger = logging.getLogger("holdfast.runtime")

NOT_HERE = (EntityNotAssignedToRunner, RunnerNotRegistered, RunnerUnavailable)
LOOK_EVERY_S = 0.1
AGAIN_S = 0.5
"""Seconds before a request that could not be carried out is tried again."""
PAGE_ROWS = 256
VERBS = frozenset({"cancel", "discard", "replay", "cancel_timer", "replay_message", "discard_message"})
"""What an operator or a client may ask for in the inbox."""


class HeldLine:
    """Rows of one entity that wait until it is known what becomes of the first of them."""

    __slots__ = ("decided", "rows", "shard")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.rows: set[int] = set()
        self.decided = False


class InboxTaking:
    """Empties the inbox of the shards that this runner serves."""

    def __init__(self, *, store: RunnerStore, territory: Territory, entities: EntityEngine, jobs: JobEngine) -> None:
        self._store = store
        self._territory = territory
        self._shards: dict[int, int] = {}
        self._adoptions = 0
        self._entities = entities
        self._jobs = jobs
        self._looks = Periodic("holdfast-inbox", self._look, every_s=LOOK_EVERY_S)
        self._commands = TaskOwner("holdfast-commands")
        self._reading = asyncio.Lock()
        self._read_over: asyncio.Future[None]
        """Of the reading under way."""
        self._stopping = False
        self._due = True
        self._unreadable: set[int] = set()
        self._waiting: set[int] = set()
        self._undecided: dict[Address, HeldLine] = {}

    async def start(self) -> None:
        await self._looks.start()

    async def stop(self) -> None:
        self._stopping = True
        await self._looks.stop()
        await self._commands.stop()

    def adopt(self, shards: Collection[int]) -> None:
        """What was left for these is taken from the moment they are served."""
        self._adoptions += 1
        self._shards.update(dict.fromkeys(shards, self._adoptions))
        self.left()

    async def release(self, shards: Collection[int]) -> None:
        """Returns when nothing that was left for these is being taken any more."""
        for shard in shards:
            self._shards.pop(shard, None)
        if self._reading.locked():
            await asyncio.wait([self._read_over])  # a later reading passes these shards over

    def left(self) -> None:
        """A handler of this runner has left something there."""
        self._due = True
        self._looks.wake()

    @property
    def busy(self) -> bool:
        """Whether there may be something that is to be taken now."""
        return self._due or self._reading.locked()

    async def taken(self, up_to: int, shards: Collection[int] = ()) -> None:
        """Returns once nothing that was in the inbox up to this id is there, but what can't be taken yet.

        Raises PersistenceError where the store refuses, EntityNotAssignedToRunner where one of `shards` is not served
        here, or not all the time, and RunnerUnavailable where a line in one of them is held up: what was left for it
        may still be there. It goes on without its asker: what is just being written may be in the inbox no more.
        """
        if self._stopping:
            raise _not_served()
        taking = self._commands.start(self._refusal(up_to, shards), name="taken")
        await asyncio.wait([taking])
        if taking.cancelled():
            raise _not_served()
        refusal = taking.result()
        if refusal is not None:
            raise refusal

    async def _refusal(self, up_to: int, shards: Collection[int]) -> HoldfastError | None:
        try:
            await self._taken(up_to, shards)
        except HoldfastError as error:
            return error
        return None

    async def _taken(self, up_to: int, shards: Collection[int]) -> None:
        async with self._alone():
            before = self._served_since(shards)
            await self._read(up_to)
            if before != self._served_since(shards):
                raise _not_served()
            if any(line.shard in shards for line in self._undecided.values()):
                raise RunnerUnavailable("what becomes of a message in the inbox of this shard is not known yet")

    def _served_since(self, shards: Collection[int]) -> list[int]:
        """When each was taken up. Raises EntityNotAssignedToRunner."""
        if not all(shard in self._shards and self._territory.serves(shard) for shard in shards):
            raise _not_served()
        return [self._shards[shard] for shard in shards]

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None, None]:
        async with self._reading:
            self._read_over = asyncio.get_running_loop().create_future()
            try:
                yield
            finally:
                self._read_over.set_result(None)

    async def _look(self) -> None:
        changed = await self._store.inbox_changed()
        if not (changed or self._due):
            return
        self._due = False
        try:
            async with self._alone():
                await self._read()
        except BaseException:
            self._due = True
            raise

    async def _read(self, up_to: int | None = None) -> None:
        """Takes page after page until there is nothing new, or all up to an id is taken."""
        while True:
            self._let_go_on()
            passed, moment = self._unreadable | self._waiting, self._entities.leftovers.moment
            served = [shard for shard in self._shards if self._territory.serves(shard)]
            if len(served) < len(self._shards):
                self._due = True  # not yet served, or not for the moment, because the lease may have lapsed
            if not served:
                return
            rows = await self._store.inbox_reader.inbox(limit=PAGE_ROWS + len(passed), shards=served)
            fresh = [row for row in rows if row.id not in passed]
            await self._take(fresh)
            if len(fresh) < PAGE_ROWS:
                held = {line.shard for line in self._undecided.values()}
                self._entities.leftovers.taken([shard for shard in served if shard not in held], moment)
            if len(fresh) < PAGE_ROWS or (up_to is not None and fresh[-1].id >= up_to):
                return

    async def _take(self, rows: list[InboxRow]) -> None:
        """Raises the first PersistenceError, after all rows have been tried.

        Messages of one entity are taken one after the other, up to one that could not be written: what was left behind
        it stays behind it. So are the jobs of a group. Requests are obeyed when all rows are where they belong: what
        they are about may be among those.
        """
        lines: dict[Address, list[tuple[int, MessageRow]]] = {}
        groups: dict[tuple[str, str], list[tuple[int, JobRow]]] = {}
        under_way: list[Awaitable[None]] = []
        requests: list[tuple[int, Command]] = []
        for row in rows:
            match self._read_entry(row):
                case None:
                    continue
                case MessageRow() as message:
                    lines.setdefault(message.address, []).append((row.id, message))
                case JobRow() as job if job.group is not None:
                    groups.setdefault((job.job_type, job.group), []).append((row.id, job))
                case JobRow() as job:
                    under_way.append(self._jobs.take(job, Take(row.id)))
                case AttemptEnd() as end:
                    under_way.append(self._jobs.take_end(end, Take(row.id), row.shard))
                case Command() as request:
                    requests.append((row.id, request))
        under_way += [self._take_line(messages) for messages in lines.values()]
        under_way += [self._take_group(jobs) for jobs in groups.values()]
        for outcome in await asyncio.gather(*under_way, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        for row_id, request in requests if not self._stopping else ():
            self._waiting.add(row_id)
            self._commands.start(self._obey(row_id, request), name=request.verb)

    def _read_entry(self, row: InboxRow) -> Entry | None:
        try:
            entry = decode_entry(row.kind, row.body)
            if isinstance(entry, Command) and entry.verb not in VERBS:
                raise ValueError(f"nobody here can {entry.verb!r}")
        except ValueError as error:
            self._unreadable.add(row.id)
            logger.error("inbox row %s can't be read by this version and stays there: %s", row.id, error)
            return None
        return entry

    async def _take_line(self, messages: list[tuple[int, MessageRow]]) -> None:
        for row_id, message in messages:
            held = self._undecided.get(message.address)
            if held is not None:
                held.rows.add(row_id)
                self._waiting.add(row_id)
                continue
            if not await self._take_message(row_id, message):
                return

    async def _take_group(self, jobs: list[tuple[int, JobRow]]) -> None:
        for row_id, job in jobs:
            await self._jobs.take(job, Take(row_id))

    async def _take_message(self, row_id: int, message: MessageRow) -> bool:
        """Whether it is known what becomes of it here: else what was left behind it has to stay there too."""
        self._waiting.add(row_id)
        stays: Stays | None = None
        try:
            stays = await self._entities.inbound.adopt(message, Take(row_id), partial(self._again, row_id, message))
        except NOT_HERE as error:
            logger.debug("inbox row %s stays for another owner: %s", row_id, error)
            return False
        finally:
            if stays is None:
                self._waiting.discard(row_id)
        if stays is Stays.UNDECIDED:
            line = self._undecided[message.address] = HeldLine(message.shard)
            line.rows.add(row_id)
        return True

    def _again(self, row_id: int, message: MessageRow) -> None:
        """What this row waited for has happened."""
        held = self._undecided.get(message.address)
        if held is not None and row_id in held.rows:
            held.decided = True
        else:
            self._waiting.discard(row_id)
        self._due = True
        self._looks.wake()

    def _let_go_on(self) -> None:
        """Only before the inbox is read anew: what has just been read of such a line may not be all of it."""
        for address in [address for address, line in self._undecided.items() if line.decided]:
            self._waiting -= self._undecided.pop(address).rows

    async def _obey(self, row_id: int, command: Command) -> None:
        """Carries a request out, then takes it away: it may be carried out twice, which changes nothing."""
        try:
            await self._carry_out(command)
        except (JobError, MessageNotFound) as error:
            logger.info("the request to %s %s came to nothing: %s", command.verb, command.target, error)
        except HoldfastError as error:
            logger.warning("the request to %s %s is tried again: %s", command.verb, command.target, error)
            await asyncio.sleep(AGAIN_S)
            self._retry(row_id)
            return
        try:
            await self._entities.inbound.take_away(Take(row_id))
        finally:
            self._retry(row_id)

    def _retry(self, row_id: int) -> None:
        """Where it is still there, the next look finds it."""
        self._waiting.discard(row_id)
        self._due = True

    async def _carry_out(self, command: Command) -> None:
        job = job_id(command.target)
        match command.verb:
            case "cancel":
                await self._jobs.cancel(job)
            case "discard":
                await self._jobs.discard(job)
            case "replay":
                await self._jobs.here.replay(job, command.number)  # whoever asked has been told this number
            case "replay_message":
                await self._entities.letters.replay(command.target, number=command.number)
            case "discard_message":
                await self._entities.letters.discard(command.target)
            case "cancel_timer":
                await self._entities.door.cancel_timer(Address(command.entity_type, command.entity_id), command.name)
            case _:
                raise AssertionError(f"{command.verb!r} was let through")


def _not_served() -> EntityNotAssignedToRunner:
    return EntityNotAssignedToRunner("the inbox of this shard is taken by another runner")
