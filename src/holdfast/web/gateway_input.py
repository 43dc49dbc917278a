"""What comes in: a body of bounded size and patience, arguments by their declared types, deadlines and keys.

Arguments are a JSON object by parameter name. Each is read by the type its handler declares, so that what JSON has no
word for (bytes, moments, numbers as keys) comes out right.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.requests import ClientDisconnect, Request

from holdfast.errors import MalformedMessage
from holdfast.model.signature import Signature, decode_foreign
from holdfast.settings import GatewaySettings

from .gateway_problems import Refused

KEY_HEADER = "idempotency-key"
TIMEOUT_HEADER = "holdfast-timeout"
DISCARDED_BYTES_MAX = 4 * 1024 * 1024
"""Read and thrown away of a body that is too large: a client that still writes could not read why it is refused."""
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def check_path(request: Request) -> None:
    """Raises Refused for bytes that are no text: as replacement characters they would all name the same entity."""
    try:
        unquote_to_bytes(request.scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError:
        raise Refused(HTTPStatus.BAD_REQUEST, "the path is no UTF-8") from None


async def body_of(request: Request, settings: GatewaySettings) -> bytes:
    """All of the body. Raises Refused for one that is too large, too slow, or no JSON by its own word."""
    parts: list[bytes] = []
    size, bytes_max = 0, settings.body_bytes_max
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for part in request.stream():
                size += len(part)
                if size <= bytes_max:
                    parts.append(part)
                elif size > bytes_max + DISCARDED_BYTES_MAX:
                    break
    except TimeoutError:
        why = f"the body had not come within {settings.body_timeout:g} s"
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, why, {"connection": "close"}) from None
    except ClientDisconnect:
        raise Refused(HTTPStatus.BAD_REQUEST, "the connection ended before the body did") from None
    if size > bytes_max:
        why = f"the body may have {bytes_max} bytes (gateway.body_bytes_max)"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why, {"connection": "close"})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if size and kind != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body is application/json, not {kind or 'unnamed'}")
    return b"".join(parts)


class Arguments:
    """Reads JSON objects as the arguments of handlers; keeps what it made for each signature."""

    def __init__(self) -> None:
        self._decoders: dict[Signature, dict[str, msgspec.json.Decoder[Any]]] = {}

    def read(self, signature: Signature, body: bytes) -> dict[str, Any]:
        """By name; what is missing or too much is found when they are bound. Raises MalformedMessage."""
        try:
            raw = _OBJECT.decode(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise MalformedMessage(f"the body is no JSON object of arguments by name: {error}") from error
        decoders = self._of(signature)
        given: dict[str, Any] = {}
        for name, value in raw.items():
            decoder = decoders.get(name)
            try:
                given[name] = bytes(value) if decoder is None else decoder.decode(value)
            except (ValueError, TypeError, RecursionError) as error:
                raise MalformedMessage(f"{signature.name}(): {name}: {error}") from error
        return given

    def _of(self, signature: Signature) -> dict[str, msgspec.json.Decoder[Any]]:
        found = self._decoders.get(signature)
        if found is None:
            made = {name: msgspec.json.Decoder(hint, dec_hook=decode_foreign) for name, hint in signature.hints.items()}
            found = self._decoders[signature] = made
        return found


def timeout_of(request: Request, settings: GatewaySettings) -> float | None:
    """Seconds from `?timeout=` or the header Holdfast-Timeout; None for the App's default. Raises Refused."""
    text = request.query_params.get("timeout") or request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    timeout_s = number_of("timeout", text)
    if not 0 < timeout_s <= settings.timeout_max:
        why = f"timeout is above 0 and at most {settings.timeout_max:g} seconds (gateway.timeout_max), not {text[:40]}"
        raise Refused(HTTPStatus.BAD_REQUEST, why)
    return timeout_s


def key_of(request: Request) -> str | None:
    """The Idempotency-Key, with or without the quotes of a structured field. Raises Refused."""
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return None
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable():
        raise Refused(HTTPStatus.BAD_REQUEST, f"an Idempotency-Key has 1 to {KEY_CHARS_MAX} printable characters")
    return key


KEY_CHARS_MAX = 512


def number_of(name: str, text: str) -> float:
    """Raises Refused for what is no finite number."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number of seconds, not {text[:40]!r}")
    return number


def moment_of(name: str, text: str) -> datetime:
    """Raises Refused for what is no moment with a time zone (RFC 3339)."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a `+` in a query is a space
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a moment with a time zone, not {text[:40]!r}")
    return moment
