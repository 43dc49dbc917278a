"""Counts and times every request into `metrics.http`, the refused ones included.

The route label is a path template of the app, or `unmatched`; the method label is one of the known methods, or
`other`: what a stranger sends never becomes a series of its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.metrics.namespaces import Http

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measure:
    """An ASGI app around another one; the routes are the ones inside."""

    def __init__(self, app: ASGIApp, http: Http, routes: Sequence[Route]) -> None:
        self._app = app
        self._http = http
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = self._template(scope)
        status = 500  # what the server answers when the app raises before it has begun to
        active = self._http.requests_active.labels(method=method)

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        active.inc()
        try:
            await self._app(scope, receive, send_noting)
        finally:
            active.dec()
            took = time.perf_counter() - began
            self._http.request_duration.labels(method=method, route=route, status=status).observe(took)
            self._http.requests.labels(method=method, route=route, status=status).inc()

    def _template(self, scope: Scope) -> str:
        return next((route.path for route in self._routes if route.matches(scope)[0] is not Match.NONE), "unmatched")
