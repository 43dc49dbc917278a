"""The base class of entities, as their authors see it, and what a message is on a live instance."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from holdfast.errors import NotAMessage
from holdfast.model.address import Address
from holdfast.ports.journal import Transaction

P = ParamSpec("P")
S = TypeVar("S")
E = TypeVar("E", bound="Entity[Any]")
H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)


class Submittable(Protocol[P, H_co]):
    """A job, with or without options."""

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, H_co]: ...


class Host(Protocol):
    """What a live instance needs from the engine that holds it."""

    @property
    def address(self) -> Address: ...

    def ref(self, entity: type[Any], entity_id: str) -> Any: ...

    def own(self, message: str) -> Any:
        """The typed client of a message of this very entity."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    def cancel_timer(self, name: str) -> Coroutine[Any, Any, bool]: ...


class Entity(Generic[S]):
    """One live instance per id in the whole cluster; derive from `Entity[YourState]` or `Entity[None]`.

    `state` is durable: what a handler changes in it is committed before the reply leaves, and is taken back when the
    handler raises. Other attributes live in memory and are not rolled back. Define `initial(self)` where `YourState()`
    is not the first state.
    """

    state: S
    _host: Host

    @property
    def id(self) -> str:
        """The id of this entity."""
        return self._host.address.entity_id

    def ref(self, entity: type[E], entity_id: str, /) -> E:
        """A typed client of another entity; its durable sends join this handler's transaction."""
        return cast(E, self._host.ref(entity, entity_id))

    async def submit(self, job: Submittable[P, H], /, *args: P.args, **kwargs: P.kwargs) -> H:
        """Submits a job that commits with this handler."""
        return await job.submit(*args, **kwargs)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The user's own SQL in the transaction of this handler.

        An error that leaves the block takes back the block's statements; one that leaves the handler, everything.
        """
        return self._host.transaction()

    async def cancel_timer(self, name: str, /) -> bool:
        """Cancels this entity's timer of that name with this handler's commit; False where none is pending."""
        return await self._host.cancel_timer(name)

    def initial(self) -> S:
        """The first state of an entity that has none stored."""
        raise NotImplementedError

    async def on_activate(self) -> None:
        """Called once the state is loaded, before the first message."""

    async def on_deactivate(self) -> None:
        """Called before an idle instance leaves memory; its state is saved already."""


class _Live:
    """A message on a live instance: calling it is a plain call in the same turn."""

    __slots__ = ("_function", "_instance")

    def __init__(self, function: Callable[..., Any], instance: Any) -> None:
        self._function = function
        self._instance = instance


class LiveMessage(_Live):
    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        if inspect.iscoroutinefunction(self._function):
            return cast("Coroutine[Any, Any, Any]", self._function(self._instance, *args, **kwargs))
        return self._call_sync(args, kwargs)

    async def _call_sync(self, args: Any, kwargs: Any) -> Any:
        return self._function(self._instance, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        raise NotAMessage(
            f"{self._function.__qualname__}.{name} needs a ref; on the live instance the message is a plain call"
        )


class LiveDurable(LiveMessage):
    """Calling it is a plain call; `send` and `opts` leave a message for this very entity, a timer for example."""

    __slots__ = ("_name",)

    def __init__(self, function: Callable[..., Any], instance: Any, name: str) -> None:
        super().__init__(function, instance)
        self._name = name

    def send(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        return cast("Coroutine[Any, Any, Any]", self._own().send(*args, **kwargs))

    def opts(self, **options: Any) -> Any:
        return self._own().opts(**options)

    def _own(self) -> Any:
        return self._instance._host.own(self._name)


class LiveStream(_Live):
    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return cast("AsyncIterator[Any]", self._function(self._instance, *args, **kwargs))
