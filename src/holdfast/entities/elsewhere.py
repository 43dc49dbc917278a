"""The way to entities that other runners own, for a runner's own callers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

from holdfast.model.address import Address

from .door import Door, Receipt


class Elsewhere(Door, Protocol):
    """A door that looks for the owner, and asks again where an entity moves meanwhile, until its time is up."""

    def outcome(self, message_id: int, timeout_s: float, *, shard: int | None = None) -> Coroutine[Any, Any, Any]:
        """How a durable message ends that somebody else has, waited for. Raises as `LocalDoor.result`."""
        ...

    def leads_to(self, address: Address, /) -> bool:
        """Whether durable messages to this entity are on their way through this door, or wait in the inbox."""
        ...


class Nowhere:
    """For a runner that is alone: what it does not serve, nobody does."""

    def __init__(self, not_here: Callable[[], Exception]) -> None:
        self._not_here = not_here

    async def call(self, *_: Any, **__: Any) -> Any:
        raise self._not_here()

    async def call_durable(self, *_: Any, **__: Any) -> Any:
        raise self._not_here()

    async def send(self, *_: Any, **__: Any) -> Receipt[Any]:
        raise self._not_here()

    def stream(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        return _Refused(self._not_here())

    async def cancel_timer(self, address: Address, name: str) -> bool:
        raise self._not_here()

    async def outcome(self, message_id: int, timeout_s: float, *, shard: int | None = None) -> Any:
        raise self._not_here()

    def leads_to(self, address: Address, /) -> bool:
        return False


class _Refused:
    """A stream that ends with an error before its first element."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __aiter__(self) -> _Refused:
        return self

    async def __anext__(self) -> Any:
        raise self._error

    async def aclose(self) -> None:
        """Nothing was opened."""
