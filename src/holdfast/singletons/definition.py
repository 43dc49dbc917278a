"""Declaring singletons: an async function that keeps nothing, or a class with a state that outlives its runner."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar, cast

from holdfast.errors import ConfigurationError, HoldfastError
from holdfast.model.address import checked_entity_id
from holdfast.model.signature import ValueCodec
from holdfast.model.told import told_seconds

S = TypeVar("S")


class Keeper(Protocol):
    """What a running singleton needs of the engine."""

    async def save(self, state: object) -> None: ...


class Singleton(Generic[S]):
    """A task that runs on one runner of the cluster; derive from `Singleton[YourState]` or `Singleton[None]`.

    `state` is what the last `save` stored, on whatever runner that was. Define `initial(self)` where `YourState()` is
    not the first state.
    """

    state: S
    _keeper: Keeper

    async def run(self) -> None:
        """The task. It is cancelled when its shard moves or the runner stops, and awaited then."""
        raise NotImplementedError

    async def save(self) -> None:
        """Stores `state`, on disk on return.

        Raises FencedOut or EntityNotAssignedToRunner where another runner has taken over, and PersistenceError.
        """
        await self._keeper.save(self.state)

    def initial(self) -> S:
        """The first state of a singleton that has saved none."""
        raise NotImplementedError


class SingletonDecorator(Protocol):
    """What `app.singleton(...)` returns."""

    def __call__(self, declared: D, /) -> D: ...


SingletonFunction = Callable[[], Coroutine[Any, Any, object]]
D = TypeVar("D", bound=SingletonFunction | type[Singleton[Any]])


class DeclaredSingleton:
    """One singleton as the code has it. Its name is what its state is found by."""

    __slots__ = ("_what", "codec", "every_s", "name")

    def __init__(self, what: object, *, name: str | None, every: float | None) -> None:
        """Raises ConfigurationError for what can't be one."""
        self.every_s = told_seconds(f"singleton {what!r}: every", every)
        self._what = what
        self.codec = _codec_of(what)
        self.name = _checked_name(str(getattr(what, "__name__", "")) if name is None else name)

    def open(self, keeper: Keeper, stored: bytes | None) -> Callable[[], Awaitable[object]]:
        """One execution's task, ready to be called. Raises SerializationError for a stored state of another type."""
        if not isinstance(self._what, type):
            return cast("SingletonFunction", self._what)
        made: Singleton[Any] = self._what()
        made._keeper = keeper  # pyright: ignore[reportPrivateUsage]
        if self.codec is None:
            made.state = None
        else:
            made.state = self.codec.decode(stored) if stored is not None else self._first(made)
        return made.run

    def _first(self, made: Singleton[Any]) -> object:
        cls: type[Any] = type(made)
        if "initial" in {name for base in cls.__mro__ if base is not Singleton for name in vars(base)}:
            return made.initial()
        return _state_type(cls)()


def _codec_of(what: Any) -> ValueCodec | None:
    cls = _class_of(what)
    if cls is not None:
        state_type = _state_type(cls)
        return None if state_type is None else ValueCodec(state_type, f"{cls.__name__}.state")
    if not isinstance(what, type) and inspect.iscoroutinefunction(what) and not inspect.signature(what).parameters:
        return None
    raise ConfigurationError(
        f"a singleton is an async function without parameters, or a class derived from holdfast.Singleton, not {what!r}"
    )


def _class_of(what: Any) -> type[Any] | None:
    return what if Singleton in getattr(what, "__mro__", ()) else None


def _state_type(cls: type[Any]) -> Any:
    for base in cls.__mro__:
        for parent in getattr(base, "__orig_bases__", ()):
            if typing.get_origin(parent) is Singleton:
                (state,) = typing.get_args(parent)
                return None if state in (None, type(None)) else state
    raise ConfigurationError(f"{cls.__name__}: a singleton class derives from Singleton[State] or Singleton[None]")


def _checked_name(name: str) -> str:
    try:
        return checked_entity_id(name)
    except HoldfastError as error:
        raise ConfigurationError(f"{name!r} can't name a singleton: {error}") from None
