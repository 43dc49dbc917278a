"""The gateway, asked by its own document and past it: every answer is one that the document could mean."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.unit.web.gateway_shop import shop

from .effort import TIMES, seeded

pytestmark = pytest.mark.slow

TOKEN = "a token of some length"
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 2**64, 10**400, 1e308, -0.0, "", "a", "\x00", "\x1b[31m", "1", "2026-01-01T00:00:00Z",
    "x" * 8000, [], {}, [[]], {"sku": 1}, {"sku": "a", "qty": "b"}, {"__class__": "x"}, [1] * 1000, "AQI=", {"1": 1.5},
)  # fmt: skip
RAW = (b"", b"{", b"[]", b"null", b"\xff", b'{"a": NaN}', b'{"a": 1e999}', b'{"a":' * 3000, b"[" * 9000, b"{}" * 2)
WORDS = ("1", "0", "-1", "9" * 19, "9" * 20, "\u0661", "a", "", "\x00", "..", "a/b", "\x1b[31m", "é" * 600, "{job_id}")
QUERY = {
    "timeout": ("0", "-1", "nan", "inf", "1e999", "0.01", "x", ""),
    "delay": ("-1", "nan", "inf", "1e300", "0", "1e10", "3600"),
    "at": ("today", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "1960-01-01T00:00:00Z", "2026-01-01"),
    "priority": ("high", "urgent", ""),
    "group": ("g", "", "\x00", "g" * 600),
    "other": ("x",),
}
HEADERS = {
    "idempotency-key": ("k", '""', '"k"', "k" * 600, "\x7f"),
    "prefer": ("respond-async", "wait=5", "\x7f"),
    "content-type": ("application/json", "text/plain", "application/json; charset=\x7f", ""),
    "holdfast-timeout": ("0", "x", "1"),
}
RIGHT = {"line": {"sku": "a", "qty": 1}, "text": "x", "number": 2}


def asked(paths: dict[str, Any], rng: random.Random) -> tuple[str, str, dict[str, str], bytes]:
    """A request that has something to do with the document."""
    path = template = rng.choice(list(paths))
    method = rng.choice([*paths[path], *paths[path], "get", "post", "put", "patch", "delete", "options", "trace"])
    for part in path.split("/"):
        if part.startswith("{"):
            path = path.replace(part, quote(rng.choice(WORDS), safe=""))
    query = "&".join(f"{name}={quote(rng.choice(QUERY[name]))}" for name in rng.sample(list(QUERY), rng.randint(0, 2)))
    headers = {name: rng.choice(HEADERS[name]) for name in rng.sample(list(HEADERS), rng.randint(0, 2))}
    headers.setdefault("content-type", "application/json")
    names = ("line", "customer", "loud", "raw", "at", "by", "sku", "text", "number", "x\x00")
    arguments = {name: rng.choice(ODD) for name in rng.sample(names, rng.randint(0, 3))}
    if rng.random() < 0.5:  # right in all but one thing, at most
        right = {"add": "line", "note": "text", "double": "number"}.get(path.rpartition("/")[2])
        arguments = {right: RIGHT[right]} if right else {}
        method, query = next(iter(paths[template])), query if rng.random() < 0.5 else ""
        headers = headers if rng.random() < 0.5 else {"content-type": "application/json"}
        return method.upper(), f"{path}?{query}" if query else path, headers, json.dumps(arguments).encode()
    body = rng.choice(RAW) if rng.random() < 0.3 else json.dumps(arguments).encode()
    return method.upper(), f"{path}?{query}" if query else path, headers, body


async def test_whatever_is_asked_is_answered_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_GATEWAY_TOKEN", TOKEN)
    app, rng = shop(body_timeout=60.0), seeded("gateway")
    bearer = {"authorization": f"Bearer {TOKEN}"}
    async with app.runner(store=f"sqlite:///{tmp_path}/shop.db", gateway="127.0.0.1:0"):
        assert app.gateway_url is not None
        async with httpx.AsyncClient(base_url=app.gateway_url, headers=bearer, timeout=60) as client:
            paths = (await client.get("/v1/openapi.json")).json()["paths"]
            paths = {path: paths[path] for path in paths if "sleep" not in path and "hold" not in path}
            seen: Counter[int] = Counter()
            for _ in range(120 * TIMES):
                method, path, headers, body = asked(paths, rng)
                try:
                    answer = await client.request(method, path, headers=headers, content=body)
                except httpx.RemoteProtocolError:
                    continue  # hung up on, as it was no HTTP
                seen[answer.status_code] += 1
                what = f"{method} {path[:200]} {headers} {body[:200]!r}: {answer.status_code} {answer.text[:300]}"
                assert answer.status_code != 500 or answer.json()["reason"] in ("HandlerFailed", "MaxRetries"), what
                assert "Traceback" not in answer.text and TOKEN not in answer.text, what
                if (
                    answer.status_code >= 400
                    and method != "HEAD"
                    and answer.headers.get("content-type") != "text/plain; charset=utf-8"
                ):
                    document = answer.json()
                    assert document["status"] == answer.status_code and document["reason"], what
                    assert answer.headers["content-type"] == "application/problem+json", what
                without = await client.request(
                    method, path, headers={**headers, "authorization": "Bearer x"}, content=body
                )
                assert without.status_code in (400, 401), what
            assert seen[200] + seen[202] and seen[400] and seen[404], seen  # they did not all meet one wall
            good = await asyncio.gather(
                *(client.post(f"/v1/entities/Cart/{n}/note", json={"text": "x"}) for n in range(9))
            )
            assert [answer.status_code for answer in good] == [200] * 9
