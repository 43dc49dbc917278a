"""The gateway at an address of its own: `holdfast run --gateway HOST:PORT`, or `app.client(gateway=...)`.

It runs in a thread with an event loop of its own, so that slow clients and large bodies do not hold up the node's.
Beyond the loopback it needs TLS: the bearer token crosses with every request.

Several runners of one machine share the address: whoever starts them listens there (`listen_for_all`) and leaves the
socket to each of them, and each connection is taken by one that is free.
"""

from __future__ import annotations

import logging
import os
import socket

from holdfast.errors import ConfigurationError
from holdfast.runtime.app import App
from holdfast.runtime.config import GATEWAY_TOKEN_VARIABLE, NodeConfig

from .gateway_app import make_gateway
from .server import HttpThread, listen

LISTENER_VARIABLE = "HOLDFAST_GATEWAY_FD"
REMEDY = "set HOLDFAST_TLS_CERT and HOLDFAST_TLS_KEY"

log = logging.getLogger(__name__)


def listen_for_all(config: NodeConfig) -> socket.socket:
    """For runners that find its descriptor in `LISTENER_VARIABLE`. Raises ConfigurationError as `GatewayServer`."""
    assert config.gateway is not None, "nobody has asked for a gateway"
    host, port = config.gateway
    return listen(host, port, loopback_only=config.tls.web_server() is None, remedy=REMEDY)


class GatewayServer:
    """Implements `runtime.ops.GatewayServer`."""

    def __init__(self, app: App, config: NodeConfig) -> None:
        """Raises ConfigurationError for an address it can't or may not use, and without a token."""
        assert config.gateway is not None, "nobody has asked for a gateway"
        if not config.gateway_token:
            raise ConfigurationError(f"the gateway needs a token: set {GATEWAY_TOKEN_VARIABLE}")
        host, port = config.gateway
        inside = make_gateway(app, token=config.gateway_token, hosts=(host, *config.gateway_hosts))
        tls = config.tls.web_server()
        shared = os.environ.pop(LISTENER_VARIABLE, None)
        listener = listen_for_all(config) if shared is None else socket.socket(fileno=int(shared))
        self._scheme = "http" if tls is None else "https"
        self._thread = HttpThread(inside, host, port, name="holdfast-gateway", tls=tls, listener=listener)

    def start(self) -> str:
        url = self._thread.start().url.replace("http", self._scheme, 1)
        log.info("gateway on %s", url)
        return url

    def stop(self) -> None:
        self._thread.stop()
