"""What every request has to pass before a page sees it.

- Host must be a name this server is known by, or a numeric address: a web page elsewhere that rebinds its own name to
  127.0.0.1 is refused (its Host header carries that name).
- Origin, where a browser sends it, must be this server: no other site's page asks through the user's browser.
- With a token, every request must bear it.

Every answer says that it is not to be stored, sniffed, framed or to load anything.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWER_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


Refuse = Callable[[int, str, Mapping[str, str] | None], ASGIApp]
"""Of a status, what is wrong, and headers."""


class Guard:
    """An ASGI app around another one, closed by default."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], token: str | None, refuse: Refuse | None = None) -> None:
        """`refuse` makes the answer for who does not pass; plain text without it."""
        self._app = app
        self._refuse = refuse or _in_plain_text
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._bearer = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        assert scope["type"] == "http", scope["type"]  # the server speaks nothing else
        app = self._refusal(Headers(scope=scope)) or self._app
        await app(scope, receive, send_sealed)

    def _refusal(self, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "")
        if not self._known(host):
            return self._refuse(421, "unknown Host", None)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return self._refuse(403, "foreign Origin", None)
        if self._bearer is not None and not self._admitted(headers.get("authorization", "")):
            return self._refuse(401, "a token is needed", {"www-authenticate": "Bearer"})
        return None

    def _admitted(self, authorization: str) -> bool:
        return self._bearer is not None and hmac.compare_digest(authorization.encode("latin-1"), self._bearer)

    def _known(self, host: str) -> bool:
        name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
        return name.lower() in self._hosts or _numeric(name)


def _in_plain_text(status: int, detail: str, headers: Mapping[str, str] | None) -> ASGIApp:
    return PlainTextResponse(f"{detail}\n", status, headers)


def _numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
