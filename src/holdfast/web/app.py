"""The App as users get it: the runtime's, with the operations HTTP at hand.

The server is imported when an address asks for it, so a program that embeds a runner without pages loads none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.metrics import MetricsService
from holdfast.model.health import Health
from holdfast.runtime.app import App as RuntimeApp
from holdfast.runtime.config import NodeConfig
from holdfast.runtime.ops import GatewayServer, OpsPages


@dataclass(frozen=True, slots=True)
class _Pages:
    url: str
    stop: Callable[[], None]


def serve_pages(
    address: tuple[str, int], *, token: str | None, metrics: MetricsService, health: Callable[[], Health]
) -> OpsPages:
    """As `runtime.ops.ServePages`."""
    from .ops import OpsServer

    host, port = address
    server = OpsServer(host, port, metrics=metrics, health=health, token=token)
    return _Pages(server.start().url, server.stop)


def hold_gateway(app: RuntimeApp, config: NodeConfig) -> GatewayServer:
    """As `runtime.ops.HoldGateway`."""
    from .gateway_serving import GatewayServer

    return GatewayServer(app, config)


class App(RuntimeApp):
    """An application: its entities, its jobs, and the services to reach them.

    Making one opens nothing. `async with app.runner():` hosts, `async with app.client():` only talks.
    """

    serve_pages = staticmethod(serve_pages)
    hold_gateway = staticmethod(hold_gateway)
