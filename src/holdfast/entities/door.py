"""The door: how calls, sends and streams leave a ref, whoever carries them out.

On a runner the entity manager is the door, in a client the connection to one. A ref outlives both: it holds the App's
`Link`, which points at the door of the node that is open now. A send with `.opts(tx=...)` leaves by the side door.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from holdfast.errors import MalformedMessage, NotStarted, UsageError
from holdfast.model.address import Address
from holdfast.model.ids import MessageId
from holdfast.model.storable import WAIT_S_MAX, checked_word, shortened

from .handler import Handler

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt(Generic[R_co]):
    """What a durable send returns once the message is on disk.

    `duplicate` is True where the key or id was known already, and None where only the owner can tell (the message
    waits in the inbox).
    """

    message_id: MessageId
    duplicate: bool | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """What `.opts(...)` was told. `timeout`, `delay` and `every` are seconds."""

    timeout: float | None = None
    key: str | None = None
    delay: float | None = None
    at: datetime | None = None
    every: float | None = None
    name: str | None = None
    tx: object | None = None
    detached: bool = False

    def __post_init__(self) -> None:
        """Raises MalformedMessage for what no store can hold."""
        if self.key is not None:
            checked_word("a key", self.key)
        if self.name is not None:
            checked_word("a timer's name", self.name)
        for option, seconds in (("timeout", self.timeout), ("delay", self.delay), ("every", self.every)):
            if seconds is not None and not 0 <= seconds <= WAIT_S_MAX:
                raise MalformedMessage(
                    f"`{option}` is a number of seconds from 0 to {WAIT_S_MAX:.0f}, not {shortened(seconds)}"
                )
        if self.timeout == 0:
            raise MalformedMessage("`timeout` is a number of seconds above 0: in no time nobody can answer")


DEFAULTS = SendOptions()


class Door(Protocol):
    def call(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Coroutine[Any, Any, Any]:
        """Request/reply of a volatile message. Raises declared errors as themselves, and MessageErrors."""
        ...

    def call_durable(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Coroutine[Any, Any, Any]:
        """Request/reply of a durable message: the same, and it goes on where the caller does not wait."""
        ...

    def send(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Coroutine[Any, Any, Receipt[Any]]:
        """A durable message, one way; inside a handler it joins the handler's transaction."""
        ...

    def stream(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> AsyncIterator[Any]:
        """The elements of a stream."""
        ...

    def cancel_timer(self, address: Address, name: str) -> Coroutine[Any, Any, bool]:
        """Cancels the pending timer of this name; False where there is none."""
        ...


class SideDoor(Protocol):
    """How a durable send leaves through the caller's own connection, `options.tx`, with or without an open node."""

    def send(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Coroutine[Any, Any, Receipt[Any]]:
        """The message is there if and when the connection's transaction commits.

        Raises UsageError for what is no connection, StoreUnavailable for one to a database without the store, and
        the driver's own errors.
        """
        ...

    def send_blocking(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Receipt[Any]:
        """The same in the thread that calls, for a driver that blocks."""
        ...


class ClosedDoor:
    """The door while no node is open: everything raises NotStarted, at the call."""

    def __init__(self, app: str) -> None:
        self._app = app

    def call(self, *_: Any, **__: Any) -> Coroutine[Any, Any, Any]:
        raise self._not_started()

    def call_durable(self, *_: Any, **__: Any) -> Coroutine[Any, Any, Any]:
        raise self._not_started()

    def send(self, *_: Any, **__: Any) -> Coroutine[Any, Any, Receipt[Any]]:
        raise self._not_started()

    def stream(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise self._not_started()

    def cancel_timer(self, *_: Any, **__: Any) -> Coroutine[Any, Any, bool]:
        raise self._not_started()

    def _not_started(self) -> NotStarted:
        return NotStarted(
            f"App {self._app!r} is not running here: use `async with app.runner():` or `async with app.client():`"
        )


RunBlocking = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


class Link:
    """Where an App's refs find the door of its node, and how its blocking twins run."""

    __slots__ = ("_closed", "_side_door", "door", "run_blocking")

    def __init__(self, app: str, run_blocking: RunBlocking, side_door: SideDoor | None = None) -> None:
        self._closed = ClosedDoor(app)
        self.door: Door = self._closed
        self.run_blocking = run_blocking
        self._side_door = side_door

    @property
    def side_door(self) -> SideDoor:
        """Raises UsageError where there is none."""
        if self._side_door is None:
            raise UsageError("`tx=` needs an App")
        return self._side_door

    def open(self, door: Door) -> None:
        self.door = door

    def close(self) -> None:
        self.door = self._closed
