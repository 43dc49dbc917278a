"""The HTTP gateway: entities and jobs for programs in other languages, as an ASGI app.

| request | does |
|---|---|
| `POST /v1/entities/{type}/{id}/{method}` | a message, and its reply; with `Prefer: respond-async` one way |
| `GET /v1/messages/{id}` | the outcome of a durable message |
| `POST /v1/jobs/{type}` | submits a job |
| `GET /v1/jobs/{id}`, `GET /v1/jobs/{id}/result` | how it is, what it returned |
| `POST /v1/jobs/{id}/cancel` | cancels it |
| `GET /v1/openapi.json` | the document of all this, made from the declarations |

Everything else is refused, and every request needs the token. Errors are problem documents.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from holdfast.errors import ConfigurationError, HoldfastError
from holdfast.runtime.app import App

from .gateway_calls import Calls
from .gateway_openapi import Document
from .gateway_problems import Declared, Refused, answer, problem
from .guard import Guard
from .measure import Measure

log = logging.getLogger(__name__)

TOKEN_CHARS_MIN = 16

Endpoint = Callable[[Request], Awaitable[Response]]


def make_gateway(app: App, *, token: str, hosts: Iterable[str] = ()) -> ASGIApp:
    """The gateway of an App, which needs an open node when it is asked.

    `token`: what every request bears. `hosts`: names in the Host header by which it may be asked, beside `localhost`
    and numeric addresses. Raises ConfigurationError for a token that could be guessed.
    """
    if len(token.strip()) < TOKEN_CHARS_MIN:
        raise ConfigurationError(f"the gateway's token has at least {TOKEN_CHARS_MIN} characters")
    calls, document = Calls(app), Document(app)
    bounded = _Bounded(app.settings.gateway.requests_max)

    async def openapi(_: Request) -> Response:
        return answer(document.current())

    routes = [
        _route("/v1/openapi.json", openapi, "GET", bounded),
        _route("/v1/entities/{entity_type}/{entity_id:path}/{method}", calls.message, "POST", bounded),
        _route("/v1/messages/{message_id}", calls.message_result, "GET", bounded),
        _route("/v1/jobs/{job_id}/cancel", calls.cancel, "POST", bounded),
        _route("/v1/jobs/{job_id}/result", calls.job_result, "GET", bounded),
        _route("/v1/jobs/{job_id}", calls.job_status, "GET", bounded),
        _route("/v1/jobs/{job_type}", calls.submit, "POST", bounded),
    ]
    inside = Starlette(routes=routes, exception_handlers={HTTPException: _unknown})
    inside.router.redirect_slashes = False
    guarded = Guard(inside, hosts=hosts, token=token, refuse=_refuse)
    return Measure(guarded, app.metrics.http, routes)


def _route(path: str, endpoint: Endpoint, method: str, bounded: _Bounded) -> Route:
    name = getattr(endpoint, "__name__", path)
    return Route(path, partial(bounded.run, endpoint), methods=[method], name=name)


class _Bounded:
    """Lets so many requests in at a time, and makes an answer of every error."""

    def __init__(self, requests_max: int) -> None:
        self._requests_max = requests_max
        self._under_way = 0

    async def run(self, endpoint: Endpoint, request: Request) -> Response:
        if self._under_way >= self._requests_max:
            why = f"{self._requests_max} requests are under way (gateway.requests_max)"
            return problem(Refused(HTTPStatus.SERVICE_UNAVAILABLE, why, {"retry-after": "1"}))
        self._under_way += 1
        try:
            return await endpoint(request)
        except Exception as error:
            if not isinstance(error, HoldfastError | Refused | Declared):
                log.exception("a request to the gateway failed")
            return problem(error)
        finally:
            self._under_way -= 1


async def _unknown(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refuse(error.status_code, HTTPStatus(error.status_code).phrase, error.headers)


def _refuse(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return problem(Refused(HTTPStatus(status), detail, headers))
