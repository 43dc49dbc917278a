"""The typed client of an entity: what `app.ref(Cart, "cart-42")` returns.

A ref is typed as its entity class, so that every call is checked, but it is not one: it has only messages and
streams. Anything else, `state` among it, raises NotAMessage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Coroutine, Mapping
from datetime import datetime
from typing import Any, Generic, ParamSpec, TypeVar

from holdfast.errors import NotAMessage, UsageError
from holdfast.model.address import Address

from .door import DEFAULTS, Link, Receipt, SendOptions
from .handler import Handler

P = ParamSpec("P")
R = TypeVar("R")

EVERY_S_MIN = 0.001
"""A timer that comes back sooner would leave its entity no rest."""


class _Target:
    """One message of one entity, with options."""

    __slots__ = ("_address", "_handler", "_link", "_options")

    def __init__(self, link: Link, address: Address, handler: Handler, options: SendOptions = DEFAULTS) -> None:
        self._link = link
        self._address = address
        self._handler = handler
        self._options = options

    def _with(self, **changes: Any) -> tuple[Link, Address, Handler, SendOptions]:
        known = {name: value for name, value in changes.items() if value is not None}
        return self._link, self._address, self._handler, dataclasses.replace(self._options, **known)

    def _refuse_transaction(self) -> None:
        if self._options.tx is not None:
            raise UsageError("with `tx=` a message leaves when you commit, so no reply can be awaited: use `send`")


class SyncCall(_Target, Generic[P, R]):
    """The blocking twin of a call."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Raises BlockingCallOnLoop on a thread that runs an event loop."""
        return self._link.run_blocking(  # type: ignore[no-any-return]
            lambda: self._link.door.call(self._address, self._handler, args, kwargs, self._options)
        )


class SyncDurable(SyncCall[P, R]):
    """The blocking twin of a durable message."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Raises BlockingCallOnLoop on a thread that runs an event loop."""
        self._refuse_transaction()
        return self._link.run_blocking(  # type: ignore[no-any-return]
            lambda: self._link.door.call_durable(self._address, self._handler, args, kwargs, self._options)
        )

    def send(self, *args: P.args, **kwargs: P.kwargs) -> Receipt[R]:
        """Without `tx` BlockingCallOnLoop is raised on a thread that runs an event loop."""
        if self._options.tx is not None:
            return self._link.side_door.send_blocking(self._address, self._handler, args, kwargs, self._options)
        return self._link.run_blocking(  # type: ignore[no-any-return]
            lambda: self._link.door.send(self._address, self._handler, args, kwargs, self._options)
        )


class Bound(_Target, Generic[P, R]):
    """A volatile message of one entity, ready to be called."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return self._link.door.call(self._address, self._handler, args, kwargs, self._options)

    def opts(self, *, timeout: float | None = None) -> Bound[P, R]:
        """The same message with a deadline, in seconds from the call."""
        return Bound(*self._with(timeout=timeout))

    @property
    def sync(self) -> SyncCall[P, R]:
        return SyncCall(self._link, self._address, self._handler, self._options)


class DurableBound(_Target, Generic[P, R]):
    """A durable message of one entity: call it for the reply, or `send` it one way."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        self._refuse_transaction()
        return self._link.door.call_durable(self._address, self._handler, args, kwargs, self._options)

    def send(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Receipt[R]]:
        """Returns once the message is on disk; inside a handler it commits with the handler.

        With `.opts(tx=...)` it is on disk once that connection's transaction is committed.
        """
        if self._options.tx is not None:
            return self._link.side_door.send(self._address, self._handler, args, kwargs, self._options)
        return self._link.door.send(self._address, self._handler, args, kwargs, self._options)

    def opts(
        self,
        *,
        timeout: float | None = None,
        key: str | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        every: float | None = None,
        name: str | None = None,
        tx: object | None = None,
        detached: bool | None = None,
    ) -> DurableBound[P, R]:
        """The same message with options.

        `timeout`, `delay`, `every`: seconds. `at`: an aware datetime. `key`: idempotency key. `name` and `every` make
        it a timer. `detached`: inside a handler, do not join its transaction. `tx`: the caller's own connection to the
        store's database, through whose transaction `send` leaves the message. Raises UsageError for what excludes each
        other, and MalformedMessage for a key, a name or a time that no store can hold.
        """
        if delay is not None and at is not None:
            raise UsageError("give `delay` or `at`, not both")
        if at is not None and at.tzinfo is None:
            raise UsageError("`at` needs a datetime with a time zone")
        if every is not None and not every >= EVERY_S_MIN:
            raise UsageError(f"`every` is a number of seconds, {EVERY_S_MIN:g} or more, not {every!r}")
        if every is not None and name is None:
            raise UsageError("a repeating timer needs a `name`, by which it can be cancelled")
        changed = self._with(
            timeout=timeout, key=key, delay=delay, at=at, every=every, name=name, tx=tx, detached=detached
        )
        return DurableBound(*changed)

    @property
    def sync(self) -> SyncDurable[P, R]:
        return SyncDurable(self._link, self._address, self._handler, self._options)


class StreamBound(_Target, Generic[P, R]):
    """A stream of one entity."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        return self._link.door.stream(self._address, self._handler, args, kwargs, self._options)

    def opts(self, *, timeout: float | None = None) -> StreamBound[P, R]:
        """The same stream with a deadline for each element, in seconds."""
        return StreamBound(*self._with(timeout=timeout))


def bound(link: Link, address: Address, handler: Handler) -> Any:
    """The typed client of one message."""
    if handler.options.stream:
        stream: StreamBound[..., Any] = StreamBound(link, address, handler)
        return stream
    if handler.options.durable:
        durable: DurableBound[..., Any] = DurableBound(link, address, handler)
        return durable
    volatile: Bound[..., Any] = Bound(link, address, handler)
    return volatile


class Ref:
    """Stands for one entity wherever it lives; typed as its class, answers for its messages."""

    def __init__(self, link: Link, address: Address, handlers: Mapping[str, Handler]) -> None:
        self._link = link
        self._address = address
        self._handlers = handlers

    def __getattr__(self, name: str) -> Any:
        handler = self._handlers.get(name)
        if handler is None:
            raise NotAMessage(
                f"{name!r} is no message of {self._address.entity_type}: a ref has only messages and streams, "
                f"here {', '.join(sorted(self._handlers)) or 'none'}"
            )
        made = bound(self._link, self._address, handler)
        self.__dict__[name] = made
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise NotAMessage(f"{name!r} can't be set on a ref; send a message that changes the entity")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<ref {self._address}>"
