"""Streams: a handler that yields.

A readonly stream is pulled: each element is a readonly turn of its own, so the entity serves others between elements.
An exclusive stream is one turn from its first element to its last; its elements wait in a channel of one, so the
handler never runs ahead of its consumer. It commits when it ends or its consumer stops.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from time import perf_counter
from typing import Any, Protocol

from holdfast.errors import PersistenceError
from holdfast.metrics import error_tag
from holdfast.model.address import Address

from .handler import Handler
from .manager import EntityManager
from .surroundings import Surroundings
from .turns import Activation, Ending, HandlerTurn


class StreamEnded(Exception):
    """The generator has no more elements."""


class Invoke(Protocol):
    def __call__(
        self, address: Address, handler: Handler, arguments: tuple[Any, ...], timeout: float
    ) -> Awaitable[HandlerTurn]:
        """Runs a turn to its settled end; raises its failure."""
        ...


class Streams:
    """Opens streams on this runner's entities."""

    def __init__(self, around: Surroundings, *, manager: EntityManager, invoke: Invoke) -> None:
        self._manager = manager
        self._invoke = invoke
        self._metrics = around.metrics
        self._loop = around.loop
        self._duration_max_s = around.settings.handler_timeout

    def open(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float
    ) -> AsyncIterator[Any]:
        """The elements; `timeout` seconds are for each."""
        arguments = handler.signature.cross(args, kwargs)
        opened = self._exclusive if handler.options.exclusive else self._pulled
        return self._measured(address.entity_type, handler.name, opened(address, handler, arguments, timeout))

    async def _measured(
        self, entity_type: str, method: str, elements: AsyncGenerator[Any, None]
    ) -> AsyncGenerator[Any, None]:
        """The same elements, counted; a consumer that stops early has met no error."""
        stream = self._metrics.stream
        labels = {"entity_type": entity_type, "method": method}
        active, count = stream.active.labels(**labels), stream.elements.labels(**labels).inc
        began = perf_counter()
        active.inc()
        try:
            async with aclosing(elements):
                async for element in elements:
                    count()
                    yield element
        except Exception as error:
            stream.errors.labels(entity_type=entity_type, type=error_tag(error)).inc()
            raise
        finally:
            active.dec()
            stream.duration.labels(**labels).observe(perf_counter() - began)

    async def _pulled(
        self, address: Address, handler: Handler, arguments: tuple[Any, ...], timeout: float
    ) -> AsyncGenerator[Any, None]:
        pull = _Pull(handler, arguments)
        step = _variant(handler, pull.step, readonly=True, errors=(StreamEnded,))
        activation: Activation | None = None
        try:
            while True:
                turn = await self._invoke(address, step, (), timeout)
                if activation is None:
                    activation = turn.activation
                    activation.streams += 1
                elif turn.activation is not activation:
                    raise PersistenceError(f"{address} left memory while its stream was read")
                if turn.ending is Ending.DECLARED:
                    return
                yield turn.outcome
        finally:
            if activation is not None:
                activation.streams -= 1
            await pull.close()

    async def _exclusive(
        self, address: Address, handler: Handler, arguments: tuple[Any, ...], timeout: float
    ) -> AsyncGenerator[Any, None]:
        channel = _Channel(self._loop, handler.signature.result.cross)
        pump = _variant(handler, channel.pump(handler, arguments), readonly=False, errors=())
        ran = asyncio.ensure_future(self._invoke(address, pump, (), self._duration_max_s))
        ran.add_done_callback(channel.ended)
        try:
            while (element := await channel.take(timeout)) is not channel.END:
                yield element
        finally:
            channel.stop()
            await ran


class _Pull:
    """One generator, stepped from turn to turn."""

    def __init__(self, handler: Handler, arguments: tuple[Any, ...]) -> None:
        self._handler = handler
        self._arguments = arguments
        self._generator: Any = None

    async def step(self, instance: Any) -> Any:
        if self._generator is None:
            self._generator = self._handler.function(instance, *self._arguments)
        try:
            return await self._generator.__anext__()
        except StopAsyncIteration:
            raise StreamEnded from None

    async def close(self) -> None:
        if self._generator is not None:
            await self._generator.aclose()


class _Channel:
    """Hands elements from the handler to the consumer, one at a time."""

    END = object()

    def __init__(self, loop: asyncio.AbstractEventLoop, cross: Callable[[Any], Any]) -> None:
        self._loop = loop
        self._cross = cross
        self._elements: asyncio.Queue[Any] = asyncio.Queue(1)
        self._stopped = asyncio.Event()
        self._failure: BaseException | None = None

    def pump(self, handler: Handler, arguments: tuple[Any, ...]) -> Callable[[Any], Awaitable[None]]:
        async def run(instance: Any) -> None:
            generator = handler.function(instance, *arguments)
            try:
                async for element in generator:
                    if not await self._put(self._cross(element)):
                        break
            finally:
                await generator.aclose()

        return run

    async def take(self, timeout: float) -> Any:
        async with asyncio.timeout(timeout):
            element = await self._elements.get()
        if element is self.END and self._failure is not None:
            raise self._failure
        return element

    def stop(self) -> None:
        """The consumer wants no more."""
        self._stopped.set()

    def ended(self, ran: asyncio.Future[Any]) -> None:
        """The handler's turn is settled; what it put before is still to be taken."""
        if ran.cancelled():
            self._failure = asyncio.CancelledError()
        else:
            self._failure = ran.exception()
        task = self._loop.create_task(self._elements.put(self.END))
        self._stopped_task = task
        if self._stopped.is_set():
            task.cancel()

    async def _put(self, element: Any) -> bool:
        """False when the consumer has stopped."""
        put = asyncio.ensure_future(self._elements.put(element))
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({put, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return put.done() and not self._stopped.is_set()
        finally:
            put.cancel()
            stopped.cancel()


def _variant(
    handler: Handler, function: Callable[[Any], Any], *, readonly: bool, errors: tuple[type[Exception], ...]
) -> Handler:
    """The handler's name and codec around another function without arguments."""
    variant = copy.copy(handler)
    variant.function = function
    variant.is_async = True
    variant.readonly, variant.writes = readonly, not readonly
    variant.options = dataclasses.replace(handler.options, errors=errors, executor="loop")
    variant.errors = {error.__name__: error for error in errors}
    return variant
