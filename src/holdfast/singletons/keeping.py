"""A singleton's state: a row like an entity's, versioned and fenced, under a type that no entity has."""

from __future__ import annotations

import asyncio

from holdfast.errors import EntityNotAssignedToRunner, PersistenceError
from holdfast.kit.batching import Closed
from holdfast.model.address import Address
from holdfast.model.message import StateRow
from holdfast.model.signature import ValueCodec
from holdfast.ports.commits import CommitItem, Commits
from holdfast.ports.reads import MessageReader

SINGLETON_TYPE = "holdfast.singleton"
SCHEMA = 1


class StateSave(CommitItem):
    """One save on its way to the store."""

    __slots__ = ("done", "row")

    def __init__(self, row: StateRow) -> None:
        super().__init__()
        self.row = row
        self.add(row, len(row.state))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(lambda done: done.exception())  # whoever saved may be gone by then

    @property
    def line(self) -> int:
        return self.row.shard

    def committed(self) -> None:
        self.done.set_result(None)

    def failed(self, error: BaseException) -> None:
        self.done.set_exception(error)


class StateKeeper:
    """Loads and saves the state of one execution; closed for good when that has ended or its shard is given away."""

    def __init__(
        self,
        name: str,
        shard: int,
        *,
        codec: ValueCodec | None,
        commits: Commits,
        reader: MessageReader,
    ) -> None:
        self._address = Address(SINGLETON_TYPE, name)
        self._shard = shard
        self._codec = codec
        self._commits = commits
        self._reader = reader
        self._version = 0
        self._saved: bytes | None = None
        self._turn = asyncio.Lock()
        self._flying: StateSave | None = None
        self._closed = False

    async def load(self) -> bytes | None:
        """The stored state; None where none was saved. Raises PersistenceError."""
        if self._codec is None:
            return None
        stored = await self._reader.state(self._address)
        if stored is not None:
            self._version, self._saved = stored.version, stored.state
        return self._saved

    async def save(self, state: object) -> None:
        """As `Singleton.save`. What was handed to the store is written even where the caller is cancelled."""
        if self._codec is None:
            return
        encoded = self._codec.encode(state)
        async with self._turn:
            await self._known()
            if self._closed:
                raise EntityNotAssignedToRunner(f"this execution of the singleton {self._address.entity_id} is over")
            if encoded != self._saved:
                row = StateRow(self._shard, *self._address, self._version + 1, SCHEMA, encoded)
                self._flying = saving = StateSave(row)
                self._add(saving)
                await self._known()
                saving.done.result()

    def shut(self) -> None:
        """Nothing more is saved."""
        self._closed = True

    async def close(self) -> None:
        """Nothing more is saved; returns once the outcome of what is under way is known."""
        self.shut()
        await self._known()

    async def _known(self) -> None:
        if (saving := self._flying) is None:
            return
        await asyncio.wait([saving.done])
        if self._flying is saving:
            self._flying = None
            if saving.done.exception() is None:
                self._version, self._saved = saving.row.version, saving.row.state

    def _add(self, saving: StateSave) -> None:
        try:
            self._commits.add(saving)
        except Closed as closed:
            saving.failed(PersistenceError(f"this runner has stopped writing: {closed}"))
