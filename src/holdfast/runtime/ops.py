"""The operations pages as the runtime needs them: somebody who serves a process's health and metrics at an address.

Who serves them stands above (`web`), so that a runner without pages needs no HTTP server; the App that users import
brings it along.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from holdfast.errors import ConfigurationError
from holdfast.metrics import MetricsService
from holdfast.model.health import Health

from .config import NodeConfig


class OpsPages(Protocol):
    """Pages that are being served."""

    @property
    def url(self) -> str:
        """Where they really are: a port of 0 has become one that was free."""
        ...

    def stop(self) -> None:
        """Returns when the port is closed; may block for a moment."""
        ...


class ServePages(Protocol):
    def __call__(
        self, address: tuple[str, int], *, token: str | None, metrics: MetricsService, health: Callable[[], Health]
    ) -> OpsPages:
        """Serves at once; `health` is asked on any thread. Raises ConfigurationError for an address it can't use."""
        ...


class GatewayServer(Protocol):
    """A gateway that has its address; who connects waits until it is started."""

    def start(self) -> str:
        """Answers from now on, for an App with an open node. Returns its URL."""
        ...

    def stop(self) -> None:
        """Returns when the port is closed; may block for a moment. Works twice, and before `start`."""
        ...


class HoldGateway(Protocol):
    def __call__(self, app: Any, config: NodeConfig) -> GatewayServer:
        """Raises ConfigurationError for an address it may not use, and for a token that is missing or too short."""
        ...


@asynccontextmanager
async def ops_pages(
    config: NodeConfig, serve: ServePages | None, *, metrics: MetricsService, health: Callable[[], Health]
) -> AsyncGenerator[str | None, None]:
    """The URL of the pages while the block runs; None where the configuration asks for none.

    They are up before the node opens and until it has stopped: a long start and a long drain are what one looks at.
    """
    if config.http is None:
        yield None
        return
    if serve is None:
        raise ConfigurationError("this App has nobody to serve HTTP: make it with `from holdfast import App`")
    pages = serve(config.http, token=config.http_token, metrics=metrics, health=health)
    try:
        yield pages.url
    finally:
        await asyncio.to_thread(pages.stop)


@asynccontextmanager
async def held_gateway(
    config: NodeConfig, hold: HoldGateway | None, app: object
) -> AsyncGenerator[GatewayServer | None, None]:
    """The App's gateway at its address while the block runs; None where the configuration asks for none.

    It is made before the node opens, so that a gateway that can't be is no reason to take shards and give them back.
    """
    if config.gateway is None:
        yield None
        return
    if hold is None:
        raise ConfigurationError("this App has nobody to serve HTTP: make it with `from holdfast import App`")
    gateway = hold(app, config)
    try:
        yield gateway
    finally:
        await asyncio.to_thread(gateway.stop)
