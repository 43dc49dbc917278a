"""Entities and jobs that live in other processes, as one thing: for a client all there are, for a runner the others'.

It puts the parts of this package together, and lets go of what it remembers of the inbox once its owners have taken it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.entities.letters import DeadMessage
from holdfast.errors import HoldfastError
from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.kit.tasks import TaskOwner
from holdfast.metrics import MetricsService
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.envelope import Call
from holdfast.model.ids import MessageId
from holdfast.ports.store import ClientStore
from holdfast.runtime import questions
from holdfast.runtime.questions import AskEach, AskLetters, Moved, Spoken, heard, pack, unpack
from holdfast.settings import Settings

from .asking import Asker, Way, nobody_answers
from .commands import Commands
from .door import RemoteDoor
from .executors import RemoteExecutors
from .jobs import RemoteJobs
from .leavings import Leavings
from .lines import Lines
from .links import Link, Links
from .places import Places, Whereabouts
from .rows import message_row

TELL_TIMEOUT_S = 2.0


class Elsewhere:
    """The doors to what lives in other processes, and what both kinds of node ask of those."""

    def __init__(
        self,
        *,
        store: ClientStore,
        links: Links,
        ids: IdPool,
        places: Places,
        entity_types: Mapping[type[Any], EntityType],
        wheel: DeadlineWheel,
        settings: Settings,
        metrics: MetricsService,
        clock: Clock,
    ) -> None:
        self.links = links
        self._places = places
        self._clock = clock
        self._call_timeout = settings.entities.call_timeout
        self._tasks = TaskOwner("holdfast-elsewhere")
        self._telling: set[asyncio.Task[None]] = set()
        self._forgetting = False
        self._leavings = Leavings(store.inbox)
        self._asker = Asker(links)
        jobs, messages = store.jobs, store.messages
        self._whereabouts = Whereabouts(leavings=self._leavings, jobs=jobs, messages=messages, alone=links.alone)
        self._commands = Commands(leavings=self._leavings, ids=ids, jobs=jobs, messages=messages, places=places)
        self._lines = Lines(
            links=links,
            shard_of=places.of_entity,
            leave=self._leave,
            writes=lambda: self._leavings.writes,
            ids=ids,
            wheel=wheel,
        )
        self.door = RemoteDoor(
            links=links,
            asker=self._asker,
            lines=self._lines,
            leavings=self._leavings,
            whereabouts=self._whereabouts,
            shard_of=places.of_entity,
            leave_cancel=self._commands.cancel_timer,
            types={declared.name: declared for declared in entity_types.values()},
            wheel=wheel,
            settings=settings,
            metrics=metrics,
        )
        self.jobs = RemoteJobs(
            links=links,
            asker=self._asker,
            leavings=self._leavings,
            whereabouts=self._whereabouts,
            commands=self._commands,
            ids=ids,
            places=places,
            clock=clock,
            settings=settings,
        )
        self.executors = RemoteExecutors(links=links, asker=self._asker, membership=store.membership)
        links.changes.listen(self._changed)

    async def start(self) -> None:
        """Raises PersistenceError where the store does not answer; that no runner does is no error."""
        await self._places.known()
        await self.links.start()

    async def drain(self) -> None:
        """Writes what is on its way into the inbox."""
        await self._leavings.close()

    async def stop(self) -> None:
        self._asker.close()
        self.links.changes.close()
        await self._tasks.stop()
        await self._lines.stop()
        await self._leavings.close()
        await self.links.stop()

    # What nodes ask of others.

    async def ask(
        self, service: str, payload: bytes = b"", *, way: Way | None = None, repeatable: bool = True
    ) -> bytes:
        """A service's answer, of any runner unless `way` says of whom. Raises as `Asker.question`."""
        return await self._asker.question(
            way or self.links.anyone, service, payload, self._call_timeout, repeatable=repeatable
        )

    async def broadcast(self, declared: EntityType, handler: Handler, payload: bytes) -> Sequence[Any]:
        """What every live instance in other processes answers; a runner that can't be asked is one error."""
        asked = pack(AskEach(declared.name, handler.name, payload))
        spoken = await asyncio.gather(
            *(self._spoken_by(name, link, handler, asked) for name, link in self.links.everyone())
        )
        return [one for some in spoken for one in some]

    async def _spoken_by(self, name: str, link: Link, handler: Handler, asked: bytes) -> list[Any]:
        try:
            answer = await self.ask(questions.BROADCAST, asked, way=lambda: link, repeatable=False)
        except HoldfastError as error:
            error.add_note(f"from {name}, for all the instances it may have")
            return [error]
        return [heard(handler, spoken) for spoken in unpack(answer, list[Spoken])]

    async def message_result(self, message_id: int, timeout_s: float | None) -> Any:
        """The outcome of a durable message. Raises as `RemoteDoor.outcome`."""
        return await self.door.outcome(message_id, timeout_s or self._call_timeout)

    async def dead_messages(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[DeadMessage]:
        asked = pack(AskLetters(limit, after, entity_type))
        return unpack(await self.ask(questions.LETTERS, asked), list[DeadMessage])

    async def replay_message(self, message_id: int) -> MessageId:
        way = await self._way_to_letter(message_id)
        if nobody_answers(way):
            return MessageId(await self._commands.replay_message(message_id))
        answer = await self.ask(questions.REPLAY_LETTER, pack(message_id), way=way, repeatable=False)
        return MessageId(unpack(answer, int))

    async def discard_message(self, message_id: int) -> None:
        way = await self._way_to_letter(message_id)
        if nobody_answers(way):
            return await self._commands.discard_message(message_id)
        await self.ask(questions.DISCARD_LETTER, pack(message_id), way=way, repeatable=False)

    async def _way_to_letter(self, message_id: int) -> Way:
        shard = await self._whereabouts.letter(message_id)
        return self.links.anyone if shard is None else lambda: self.links.toward(shard)

    def tell_owner(self, runner: RunnerRow, shards: Sequence[tuple[ShardRow, float]]) -> None:
        """Tells a runner that it owns these shards now; where that fails, the store will say the same."""
        told = pack(Moved(runner, list(shards)))

        async def tell() -> None:
            with contextlib.suppress(HoldfastError):
                way = _always(self.links.to(runner.runner_id))
                await self._asker.question(way, questions.MOVED, told, TELL_TIMEOUT_S)

        telling = self._tasks.start(tell(), name="moved")
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def told(self) -> None:
        """Returns when every owner has heard, or can't be told: who leaves waits for it, as nobody else tells them."""
        if self._telling:
            await asyncio.wait(self._telling)

    # The inbox.

    def left_in(self, shard: int) -> bool:
        """Whether something of this process may still be there."""
        return shard in self._leavings.shards

    def _leave(self, call: Call) -> asyncio.Future[None]:
        shard = self._places.of_entity(call.entity_type, call.entity_id)
        return self._leavings.leave(call.message_id, shard, message_row(call, shard, self._clock.now_us()))

    def _changed(self) -> None:
        self._lines.changed()
        if self._leavings.shards and not self._forgetting:
            self._forgetting = True
            self._tasks.start(self._forget(), name="taken")

    async def _forget(self) -> None:
        """Once an owner has taken what was left for it, nobody needs to be told of it any more."""
        try:
            for link, shards in self._owners_of(self._leavings.shards):
                writes, left = self._leavings.writes, self._leavings.left_in(shards)
                await self.ask(questions.TAKE_INBOX, pack(questions.AskTaking(left, sorted(shards))), way=_always(link))
                self._lines.inbox_taken(shards, writes)
                self._leavings.taken(shards, writes)
        except HoldfastError:
            pass  # asked again when the way to some runner changes
        finally:
            self._forgetting = False

    def _owners_of(self, shards: Collection[int]) -> list[tuple[Link, set[int]]]:
        """Those that can be asked."""
        found: dict[int, tuple[Link, set[int]]] = {}
        for shard in shards:
            link = self.links.toward(shard)
            if link.peer is not None:
                found.setdefault(id(link), (link, set()))[1].add(shard)
        return list(found.values())


def _always(link: Link) -> Way:
    return lambda: link
