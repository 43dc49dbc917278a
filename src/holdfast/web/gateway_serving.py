"""The gateway at an address of its own: `holdfast run --gateway HOST:PORT`, or `app.client(gateway=...)`.

It runs in a thread with an event loop of its own, so that slow clients and large bodies do not hold up the node's.
Beyond the loopback it needs TLS: the bearer token crosses with every request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.errors import ConfigurationError
from holdfast.runtime.app import App
from holdfast.runtime.config import GATEWAY_TOKEN_VARIABLE, NodeConfig

from .gateway_app import make_gateway
from .server import HttpThread

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """Implements `runtime.ops.OpsPages`."""

    url: str
    stop: Callable[[], None]


def start_gateway(app: App, config: NodeConfig) -> Serving:
    """Serves at once. Raises ConfigurationError for an address it can't or may not use, and without a token."""
    assert config.gateway is not None, "nobody has asked for a gateway"
    if not config.gateway_token:
        raise ConfigurationError(f"the gateway needs a token: set {GATEWAY_TOKEN_VARIABLE}")
    host, port = config.gateway
    tls = config.tls.web_server()
    thread = HttpThread(
        make_gateway(app, token=config.gateway_token, hosts=(host, *config.gateway_hosts)),
        host,
        port,
        name="holdfast-gateway",
        loopback_only=tls is None,
        tls=tls,
        remedy="set HOLDFAST_TLS_CERT and HOLDFAST_TLS_KEY",
    )
    url = thread.start().url
    if tls is not None:
        url = url.replace("http:", "https:", 1)
    log.info("gateway on %s", url)
    return Serving(url, thread.stop)
