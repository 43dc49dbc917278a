"""Operations HTTP: is it alive, is it ready, what do its metrics say.

| path | answer |
|---|---|
| `/livez` | 200 while the process answers at all; asks nobody |
| `/readyz` | 200 if it makes progress with its work, else 503; `?verbose` lists the checks |
| `/metrics` | a scrape, as Prometheus text or OpenMetrics by the Accept header, gzip where accepted |

Everything else is 404, and other methods are 405. It runs in a thread of its own (`server`), behind `guard`, and
counts itself (`measure`). Health and metrics are asked aside of its event loop, so that a hanging check makes the
process not ready, and never not alive. Listens on the loopback only, unless it is given a token.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from holdfast.errors import ConfigurationError
from holdfast.metrics.namespaces import Http
from holdfast.model.health import Check, Health

from .aside import Aside, Busy
from .guard import Guard
from .measure import Measure
from .server import HttpAddress, HttpThread

GZIP_LEVEL = 5
GZIP_BYTES_MIN = 1000
HEALTH_TIMEOUT_S = 5.0
SCRAPE_TIMEOUT_S = 30.0

log = logging.getLogger(__name__)


class Metrics(Protocol):
    """What is needed of a `MetricsService`; `exposition` is called on any thread."""

    http: Http

    def exposition(self, accept: str | None = None) -> tuple[str, bytes]:
        """(content type, body) in the format that suits the Accept header."""
        ...


class OpsServer:
    """The operations pages of one process."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        metrics: Metrics,
        health: Callable[[], Health],
        token: str | None = None,
        hosts: Iterable[str] = (),
    ) -> None:
        """`health` is called on any thread. With a `token`, every request must carry it as a bearer token, and only
        then may `host` be an address that other machines reach; `hosts` are further names in the Host header.
        Raises ConfigurationError for an empty token.
        """
        if token is not None and not token.strip():
            raise ConfigurationError("the token of the operations HTTP is empty")
        pages = _Pages(metrics, health)
        routes = [
            Route("/livez", pages.livez),
            Route("/readyz", pages.readyz),
            Route("/metrics", pages.metrics),
        ]
        guarded = Guard(Starlette(routes=routes), hosts=(host, *hosts), token=token)
        app = Measure(guarded, metrics.http, routes)
        self._thread = HttpThread(app, host, port, name="holdfast-ops", loopback_only=token is None)

    def start(self) -> HttpAddress:
        """Returns the address once it answers. Raises ConfigurationError if it can't or may not be used."""
        address = self._thread.start()
        log.info("operations HTTP on %s", address.url)
        return address

    def stop(self) -> None:
        """Returns when the port is closed and the thread has ended. Works twice and before `start`."""
        self._thread.stop()


class _Pages:
    def __init__(self, metrics: Metrics, health: Callable[[], Health]) -> None:
        self._metrics = metrics
        self._health = health
        self._checking = Aside("holdfast-health", timeout_s=HEALTH_TIMEOUT_S)
        self._scraping = Aside("holdfast-scrape", timeout_s=SCRAPE_TIMEOUT_S)

    async def livez(self, _: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(self, request: Request) -> Response:
        health = await self._ask()
        lines = ["ready" if health.ready else "not ready"]
        if "verbose" in request.query_params:
            lines += [_line(check) for check in health.checks]
        return PlainTextResponse("\n".join(lines) + "\n", 200 if health.ready else 503)

    async def _ask(self) -> Health:
        try:
            return await self._checking.call(self._health)
        except Busy as error:
            return Health.of([Check("health", False, str(error))])
        except Exception as error:
            log.exception("the health check raised")
            return Health.of([Check("health", False, f"the check itself raised {type(error).__name__}")])

    async def metrics(self, request: Request) -> Response:
        accept, zipped = request.headers.get("accept"), _takes_gzip(request.headers.get("accept-encoding", ""))
        try:
            return await self._scraping.call(lambda: self._scrape(accept, zipped))
        except Busy as error:
            return PlainTextResponse(f"{error}\n", 503)
        except Exception:
            log.exception("the metrics could not be rendered")
            return PlainTextResponse("the metrics could not be rendered; the log says why\n", 500)

    def _scrape(self, accept: str | None, zipped: bool) -> Response:
        content_type, body = self._metrics.exposition(accept)
        headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
        if zipped and len(body) >= GZIP_BYTES_MIN:
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        return Response(body, headers=headers)


def _line(check: Check) -> str:
    words = " ".join(check.detail.split())  # one line each, whatever an error's message holds
    detail = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in words)
    return f"[{'ok' if check.ok else 'failed'}] {check.name}: {detail}".removesuffix(": ")


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is among the encodings, and not with a quality of 0."""
    for offer in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in offer.split(";"))
        if coding in ("gzip", "*"):
            return not any(parameter.replace(" ", "").rstrip("0.") == "q=" for parameter in parameters)
    return False
