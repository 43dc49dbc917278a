"""Declaring entities: the decorators, the descriptors they make, and what is known of a type once it is declared.

`@message` turns a method into a descriptor. Seen on the class it names the message (`app.cluster.send(Cart.add,
...)`); on a live instance it is the method itself, a plain call in the same turn; a ref answers with the typed
client of `ref`. Codecs are made when the class is, so that a type which can't travel fails at import.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, overload

from holdfast.errors import ConfigurationError

from .entity import Entity, LiveDurable, LiveMessage, LiveStream
from .handler import Executor, Handler, HandlerOptions, OnRetry
from .ref import Bound, DurableBound, StreamBound

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=Entity[Any])


class Declared:
    """Base of the descriptors: remembers the function and makes the `Handler` when its class is made."""

    __slots__ = ("_owner", "function", "handler", "options")

    def __init__(self, function: Callable[..., Any], options: HandlerOptions) -> None:
        self.function = function
        self.options = options
        self.handler: Handler | None = None
        self._owner: type[Any] | None = None

    def __set_name__(self, owner: type[Any], attribute: str) -> None:
        self.handler = Handler(owner, attribute, self.function, self.options)
        self._owner = owner

    @property
    def owner(self) -> type[Any]:
        """The class through which the message was named."""
        assert self._owner is not None, "a message is declared in an entity class"
        return self._owner

    @property
    def name(self) -> str:
        """The message's name on the wire."""
        assert self.handler is not None, "a message is declared in an entity class"
        return self.handler.name

    def of(self, owner: type[Any]) -> Self:
        """The same message named on `owner`, which may have inherited it."""
        if owner is self._owner:
            return self
        named = copy.copy(self)
        named._owner = owner
        return named


class Message(Declared, Generic[P, R]):
    """A volatile request/reply message."""

    __slots__ = ()

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> Bound[P, R]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.of(owner) if instance is None else LiveMessage(self.function, instance)


class DurableMessage(Declared, Generic[P, R]):
    """A message that is stored before it is acknowledged."""

    __slots__ = ()

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> DurableBound[P, R]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.of(owner) if instance is None else LiveDurable(self.function, instance, self.name)


class StreamMessage(Declared, Generic[P, R]):
    """A message that answers with a stream of elements."""

    __slots__ = ()

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> StreamBound[P, R]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.of(owner) if instance is None else LiveStream(self.function, instance)


class _Volatile(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[E, P], Coroutine[Any, Any, R]], /) -> Message[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[E, P], R], /) -> Message[P, R]: ...


class _Durable(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[E, P], Coroutine[Any, Any, R]], /) -> DurableMessage[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[E, P], R], /) -> DurableMessage[P, R]: ...


class _Stream(Protocol):
    def __call__(self, fn: Callable[Concatenate[E, P], AsyncIterator[R]], /) -> StreamMessage[P, R]: ...


@overload
def message(fn: Callable[Concatenate[E, P], Coroutine[Any, Any, R]], /) -> Message[P, R]: ...
@overload
def message(fn: Callable[Concatenate[E, P], R], /) -> Message[P, R]: ...
@overload
def message(
    *,
    durable: Literal[True],
    dedupe: str | None = ...,
    errors: tuple[type[Exception], ...] = ...,
    max_deliveries: int | None = ...,
    on_retry: OnRetry = ...,
    executor: Executor = ...,
    name: str | None = ...,
) -> _Durable: ...
@overload
def message(
    *,
    readonly: bool = ...,
    errors: tuple[type[Exception], ...] = ...,
    executor: Executor = ...,
    name: str | None = ...,
) -> _Volatile: ...
def message(fn: Any = None, /, **options: Any) -> Any:
    """Declares a message of an entity.

    `durable`: stored before it is acknowledged, retried until it ends, and callable one way with `.send`.
    `dedupe`: the parameter whose value is the idempotency key. `errors`: the exceptions that are results.
    `readonly`: shares the turn with other readonly messages and may not change the state.
    `on_retry`: whether later durable messages "wait" behind one that will be retried or it may "step_aside".
    `executor`: "thread" runs a sync handler off the event loop. `name`: its name on the wire, if the method's is
    not to be the contract.
    """
    if fn is not None:
        volatile: Message[..., Any] = Message(fn, HandlerOptions())
        return volatile
    chosen = HandlerOptions(**options)
    if chosen.durable and chosen.readonly:
        raise ConfigurationError("a durable message writes (its own consumption): it can't be readonly")
    if chosen.executor not in typing.get_args(Executor):
        raise ConfigurationError(f"executor is one of {typing.get_args(Executor)}, not {chosen.executor!r}")

    def declare(function: Callable[..., Any]) -> Declared:
        made: DurableMessage[..., Any] | Message[..., Any]
        made = DurableMessage(function, chosen) if chosen.durable else Message(function, chosen)
        if chosen.executor == "thread" and inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{function.__qualname__}: only a sync handler (`def`) can run in a thread")
        return made

    return declare


@overload
def stream(fn: Callable[Concatenate[E, P], AsyncIterator[R]], /) -> StreamMessage[P, R]: ...
@overload
def stream(*, exclusive: bool = ..., name: str | None = ...) -> _Stream: ...
def stream(fn: Any = None, /, **options: Any) -> Any:
    """Declares a stream: an async generator whose elements reach the caller with back pressure.

    It is readonly and does not hold the entity between elements; with `exclusive=True` it holds the turn, may
    change the state, and commits it when it ends or its consumer stops.
    """
    chosen = HandlerOptions(stream=True, **options)

    def declare(function: Callable[..., Any]) -> StreamMessage[..., Any]:
        return StreamMessage(function, chosen)

    return declare if fn is None else declare(fn)
