"""Streams: a handler that yields.

A readonly stream is pulled: each element is a readonly turn of its own, so the entity serves others between elements.
An exclusive stream is one turn from its first element to its last; each element waits until it is taken, so the
handler is never further ahead of its consumer than one. It commits when it ends or its consumer stops; a consumer that
is cancelled, or out of patience, cancels it.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from time import perf_counter
from typing import Any, Final, Protocol, cast

from holdfast.errors import EntityNotAssignedToRunner, HoldfastError, PersistenceError, SendTimeout
from holdfast.metrics import error_tag
from holdfast.model.address import Address

from .handler import Handler
from .surroundings import Surroundings
from .turns import Activation, HandlerTurn

END: Final = object()
"""Taken in place of an element: there are no more."""


class Invoke(Protocol):
    def __call__(
        self, address: Address, handler: Handler, arguments: tuple[Any, ...], timeout: float
    ) -> Awaitable[HandlerTurn]:
        """Runs a turn to its settled end; raises its failure."""
        ...


class Streams:
    """Opens streams on this runner's entities."""

    def __init__(self, around: Surroundings, *, invoke: Invoke) -> None:
        self._wheel = around.wheel
        self._invoke = invoke
        self._metrics = around.metrics
        self._loop = around.loop
        self._duration_max_s = around.settings.handler_timeout
        self._payload_bytes_max = around.settings.payload_bytes_max

    def open(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float
    ) -> AsyncIterator[Any]:
        """The elements; `timeout` seconds are for each."""
        arguments = handler.signature.cross(args, kwargs, self._payload_bytes_max)
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
        step = _variant(handler, pull.step, readonly=True)
        activation: Activation | None = None
        try:
            while True:
                turn = await self._next(address, step, timeout, begun=activation is not None)
                if activation is None:
                    activation = turn.activation
                    activation.streams = activation.streams or set()
                    activation.streams.add(pull)
                elif turn.activation is not activation:
                    raise PersistenceError(f"{address} left memory while its stream was read")
                if turn.outcome is END:
                    return
                yield turn.outcome
        finally:
            if activation is not None and activation.streams is not None:
                activation.streams.discard(pull)
            if pull.unfinished:
                await self._finish(address, handler, pull, timeout)

    async def _next(self, address: Address, step: Handler, timeout: float, *, begun: bool) -> HandlerTurn:
        try:
            return await self._invoke(address, step, (), timeout)
        except EntityNotAssignedToRunner:
            if not begun:
                raise
        raise EntityNotAssignedToRunner(f"{address} moved while its stream was read", executed="unknown")

    async def _finish(self, address: Address, handler: Handler, pull: _Pull, timeout: float) -> None:
        """Lets the generator clean up, in a turn of its own where that can be had."""
        try:
            await self._invoke(address, _variant(handler, pull.end, readonly=True), (), timeout)
        except HoldfastError:
            await pull.close()

    async def _exclusive(
        self, address: Address, handler: Handler, arguments: tuple[Any, ...], timeout: float
    ) -> AsyncGenerator[Any, None]:
        channel = _Channel(self._loop, handler, arguments)
        pump = _variant(handler, channel.pump, readonly=False)
        ran = asyncio.ensure_future(self._invoke(address, pump, (), self._duration_max_s))
        ran.add_done_callback(channel.over)
        try:
            while (element := await self._take(channel, handler, timeout)) is not END:
                yield element
            await ran
        except GeneratorExit:
            channel.stop()
            await asyncio.wait({ran}, timeout=timeout)
            raise
        finally:
            if not ran.done():
                ran.cancel()
            await asyncio.wait({ran})
            if not ran.cancelled():
                ran.exception()  # raised above, or of no interest to a consumer that has stopped

    async def _take(self, channel: _Channel, handler: Handler, timeout: float) -> Any:
        late = SendTimeout(f"{handler.signature.name} gave no element within {timeout:g} s")
        deadline = self._wheel.after(timeout, lambda: channel.fail(late))
        try:
            return await channel.take()
        finally:
            deadline.cancel()


class _Pull:
    """One generator, stepped from turn to turn."""

    def __init__(self, handler: Handler, arguments: tuple[Any, ...]) -> None:
        self._handler = handler
        self._arguments = arguments
        self._generator: Any = None
        self._over = False

    @property
    def unfinished(self) -> bool:
        """Whether it waits at a yield. One that is being cancelled just now ends by itself."""
        return self._generator is not None and not self._over and not self._generator.ag_running

    async def step(self, instance: Any) -> Any:
        if self._generator is None:
            self._generator = self._handler.function(instance, *self._arguments)
        try:
            return self._handler.signature.result.cross(await self._generator.__anext__())
        except StopAsyncIteration:
            self._over = True
            return END

    async def end(self, _instance: Any) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets the generator clean up; harmless where it has ended, or is just running."""
        if self.unfinished:
            await self._generator.aclose()
            self._over = True


class _Channel:
    """Hands elements from the handler to the consumer, one at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, handler: Handler, arguments: tuple[Any, ...]) -> None:
        self._loop = loop
        self._handler = handler
        self._arguments = arguments
        self._elements: list[Any] = []
        self._offered: asyncio.Future[None] | None = None
        self._wanted: asyncio.Future[None] | None = None
        self._stopped = self._over = False

    async def pump(self, instance: Any) -> None:
        """The handler's turn."""
        cross = self._handler.signature.result.cross
        async with aclosing(self._handler.function(instance, *self._arguments)) as elements:
            async for element in elements:
                if not await self._taken(cross(element)):
                    return

    async def take(self) -> Any:
        """The next element, or END. Raises what `fail` was given."""
        if not self._elements and not self._over:
            self._wanted = self._loop.create_future()
            try:
                await self._wanted
            finally:
                self._wanted = None
        if not self._elements:
            return END
        _wake(self._offered)
        return self._elements.pop()

    def fail(self, error: Exception) -> None:
        """The consumer waits no longer."""
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_exception(error)

    def stop(self) -> None:
        """The consumer wants no more."""
        self._stopped = True
        _wake(self._offered)

    def over(self, _ran: asyncio.Future[Any]) -> None:
        """The handler's turn is settled; what it offered before can still be taken."""
        self._over = True
        _wake(self._wanted)

    async def _taken(self, element: Any) -> bool:
        """Offers an element until it is taken; False when the consumer has stopped."""
        if not self._stopped:
            self._elements.append(element)
            _wake(self._wanted)
            self._offered = self._loop.create_future()
            await self._offered
        return not self._stopped


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


class _AsIs:
    """In place of a handler's signature: what the functions here return has crossed its codec already."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.result = self

    def cross(self, value: Any) -> Any:
        return value


def _variant(handler: Handler, function: Callable[[Any], Any], *, readonly: bool) -> Handler:
    """The handler's name around another function without arguments."""
    variant = copy.copy(handler)
    variant.function = function
    variant.signature = cast(Any, _AsIs(handler.signature.name))
    variant.passing = frozenset()
    variant.is_async = True
    variant.readonly, variant.writes = readonly, not readonly
    variant.options = dataclasses.replace(handler.options, errors=(), executor="loop")
    return variant
