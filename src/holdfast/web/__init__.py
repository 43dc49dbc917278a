"""What a runner serves over HTTP: import each part from its own module, but `gateway`, which users mount."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from .app import App

__all__ = ["gateway"]


def gateway(app: App, *, token: str, hosts: Iterable[str] = ()) -> ASGIApp:
    """The HTTP gateway of an App, to be mounted in a program's own ASGI app; see `holdfast.web.gateway_app`.

    `token`: what every request bears. `hosts`: names in the Host header by which it may be asked, beside `localhost`
    and numeric addresses. Raises ConfigurationError for a token that could be guessed.
    """
    from .gateway_app import make_gateway  # the HTTP libraries are loaded by who uses them

    return make_gateway(app, token=token, hosts=hosts)
