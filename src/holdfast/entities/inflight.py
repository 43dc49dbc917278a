"""The durable messages that this owner holds in memory, by id and by key, and who waits for those it does not."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager

from holdfast.model.address import Address
from holdfast.model.message import MessageRow

from .durable import DurableTurn, Listener

Key = tuple[Address, str, str | None]


class Passed:
    """The messages that have left since somebody began to look: what the store said of them meanwhile may be old."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: set[int | Key] = set()

    def add(self, row: MessageRow) -> None:
        self._names.add(row.id)
        if row.key is not None:
            self._names.add((row.address, row.method, row.key))

    def add_id(self, message_id: int) -> None:
        self._names.add(message_id)

    def has(self, message_id: int) -> bool:
        return message_id in self._names

    def like(self, row: MessageRow) -> bool:
        """Whether one of the same id or key is among them."""
        return row.id in self._names or (row.address, row.method, row.key) in self._names


class Inflight:
    """Every durable message from its admission until its outcome is known."""

    def __init__(self) -> None:
        self.by_id: dict[int, DurableTurn] = {}
        self._by_key: dict[tuple[Address, str, str], DurableTurn] = {}
        self._by_name: dict[tuple[Address, str], DurableTurn] = {}
        self._awaiting: dict[int, tuple[int, list[Listener]]] = {}
        """By message: its shard, and who waits."""
        self._looking: list[Passed] = []

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[DurableTurn]:
        return iter(list(self.by_id.values()))

    def __contains__(self, message_id: int) -> bool:
        return message_id in self.by_id

    def get(self, message_id: int) -> DurableTurn | None:
        return self.by_id.get(message_id)

    def like(self, row: MessageRow) -> DurableTurn | None:
        """The message of the same id, or else of the same key."""
        turn = self.by_id.get(row.id)
        if turn is None and row.key is not None:
            turn = self._by_key.get((row.address, row.method, row.key))
        return turn

    def add(self, turn: DurableTurn) -> None:
        row = turn.row
        self.by_id[row.id] = turn
        if row.key is not None:
            self._by_key[row.address, row.method, row.key] = turn
        if row.name is not None and turn.stored:
            self._by_name[row.address, row.name] = turn
        if self._awaiting:
            turn.listeners += self._awaiting.pop(row.id, (0, ()))[1]

    @contextmanager
    def looking(self) -> Generator[Passed]:
        """For who asks the store about a message: it may come in and end between the question and the answer."""
        passed = Passed()
        self._looking.append(passed)
        try:
            yield passed
        finally:
            self._looking = [other for other in self._looking if other is not passed]

    def remove(self, turn: DurableTurn) -> None:
        row = turn.row
        for passed in self._looking:
            passed.add(row)
        if self.by_id.get(row.id) is turn:
            del self.by_id[row.id]
        if row.key is not None and self._by_key.get((row.address, row.method, row.key)) is turn:
            del self._by_key[row.address, row.method, row.key]
        if row.name is not None and self._by_name.get((row.address, row.name)) is turn:
            del self._by_name[row.address, row.name]

    def passes(self, message_id: int) -> None:
        """A stored message that nobody holds is gone."""
        for passed in self._looking:
            passed.add_id(message_id)

    def hang_up(self, error: Exception) -> None:
        """Tells all who wait that they will not hear more from here."""
        listeners = [listener for turn in self for listener in turn.listeners]
        for listener in [*listeners, *(one for _, waiting in self._awaiting.values() for one in waiting)]:
            listener.refused(error)
        self._awaiting.clear()

    def hang_up_on(self, shards: Collection[int], error: Exception) -> None:
        """Tells those who wait for messages of these shards that are not held in memory."""
        for message_id, (shard, listeners) in list(self._awaiting.items()):
            if shard in shards:
                del self._awaiting[message_id]
                for listener in listeners:
                    listener.refused(error)

    def named(self, row: MessageRow) -> int | None:
        """The id of the timer here that has this one's name."""
        turn = None if row.name is None else self._by_name.get((row.address, row.name))
        return None if turn is None else turn.row.id

    def await_message(self, message_id: int, shard: int, listener: Listener) -> None:
        """The message is stored and will be held once its time comes."""
        self._awaiting.setdefault(message_id, (shard, []))[1].append(listener)

    def forget(self, message_id: int, listener: Listener) -> None:
        """Nobody waits behind this listener any more."""
        turn = self.by_id.get(message_id)
        if turn is not None:
            turn.forget(listener)
        _, waiting = self._awaiting.get(message_id, (0, []))
        if listener in waiting:
            waiting.remove(listener)
            if not waiting:
                del self._awaiting[message_id]
