"""The operations pages and whatever HTTP comes: a whole answer or an ended connection, and the next one is served."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from holdfast.metrics import MetricsService
from holdfast.model.health import Check, Health
from holdfast.web import server
from holdfast.web.ops import OpsServer
from holdfast.web.server import CONNECTIONS_MAX, HttpAddress

from .effort import TIMES, seeded

TOKEN = "canary-of-the-pages"
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "TRACE", "CONNECT", "PRI", "get", "G\x00T", "\xff", "A" * 5000)
PATHS = (
    "/livez", "/readyz", "/readyz?verbose", "/metrics", "/", "*", "//metrics", "/metrics/", "/%2e%2e/%2fetc/passwd",
    "/metrics%00", "/\x1b[31m", "/" + "a" * 60_000, "http://evil.example/metrics", "/livez#x", "/readyz?%ff=%00",
)  # fmt: skip
HEADERS = {
    "Host": ("127.0.0.1", "localhost", "evil.example", "", "[::1", "[::1]:9", "127.0.0.1:99999", "a" * 5000, "\xff"),
    "Origin": ("null", "http://evil.example", "http://127.0.0.1", "", "://", "\xff", "x" * 5000),
    "Authorization": (f"Bearer {TOKEN}", "Bearer", "Bearer ", f"bearer {TOKEN}", "Basic eA==", "\xff" * 9, "B" * 9000),
    "Accept": ("application/openmetrics-text", ";;;,,q=;", "text/plain;version=\xff", "*/*;q=nan", "," * 5000),
    "Accept-Encoding": ("gzip", "gzip;q=0", "gzip;q=\xff", ",;=," * 500, "*;q=-1", "gzip;q=1e999", "br"),
    "Content-Length": ("0", "5", "-1", "99999999999999999999", "x"),
    "Transfer-Encoding": ("chunked", "gzip, chunked", "x"),
    "Expect": ("100-continue",),
    "Connection": ("close", "keep-alive, x", "upgrade"),
    "Upgrade": ("websocket", "h2c"),
    "X": ("v" * 70_000, "\x0bfold", "a\r\n b"),
}  # fmt: skip


def request(rng: random.Random) -> bytes:
    """Mostly a request."""
    lines = [f"{rng.choice(METHODS)} {rng.choice(PATHS)} HTTP/{rng.choice(('1.1', '1.1', '1.0', '2.0', '9'))}"]
    names = rng.sample(list(HEADERS), rng.randint(0, 5))
    names += ["Host"] if rng.random() < 0.8 and "Host" not in names else []
    lines += [f"{name}: {rng.choice(HEADERS[name])}" for name in names]
    data = "\r\n".join([*lines, "", ""]).encode("latin-1")
    if rng.random() < 0.3:
        at = rng.randrange(len(data))
        data = data[:at] + rng.randbytes(rng.randint(0, 8)) + data[at + rng.randint(0, 8) :]
    return data


def answer(address: HttpAddress, data: bytes) -> bytes:
    """What comes back until the server hangs up."""
    received = b""
    with socket.create_connection(address[:2], timeout=60) as line, contextlib.suppress(ConnectionError):
        line.sendall(data)
        while part := line.recv(65536):
            received += part
    return received


@pytest.fixture(params=[None, TOKEN], ids=["open", "token"])
def pages(request: pytest.FixtureRequest) -> Iterator[tuple[HttpAddress, MetricsService, str | None]]:
    metrics = MetricsService()
    health = Health.of([Check("store", False, "disk\nfull \x1b[2J\r")])
    ops = OpsServer(metrics=metrics, health=lambda: health, token=request.param)
    try:
        yield ops.start(), metrics, request.param
    finally:
        ops.stop()


def test_odd_requests_are_answered_or_hung_up_on(
    pages: tuple[HttpAddress, MetricsService, str | None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, metrics, token = pages
    rng = seeded(f"http {token}")
    monkeypatch.setattr(server, "HEAD_S", 0.02)  # for requests that are only begun, and connections kept alive
    for _ in range(100 * TIMES):
        data = request(rng)
        received = answer(address, data)
        head = received.partition(b"\r\n\r\n")[0]
        assert not received or head.startswith(b"HTTP/1."), data
        assert b" 500 " not in head.partition(b"\r\n")[0], data
        assert b"Traceback" not in received and TOKEN.encode() not in received
        if token and b" 200 " in head.partition(b"\r\n")[0]:
            assert f"Bearer {token}".encode() in data
    assert TOKEN not in caplog.text
    monkeypatch.setattr(server, "HEAD_S", 20.0)
    right = {"Host": "localhost", **({"Authorization": f"Bearer {token}"} if token else {})}
    lines = ["GET /readyz?verbose HTTP/1.1", "Connection: close", *(f"{name}: {right[name]}" for name in right)]
    body = answer(address, "\r\n".join([*lines, "", ""]).encode()).partition(b"\r\n\r\n")[2].decode()
    assert body.splitlines() == ["not ready", "[failed] store: disk full \\x1b[2J"]
    series = [sample for family in parsed(metrics.exposition()[1].decode()) for sample in family.samples]
    of_pages = {sample.labels["route"] for sample in series if sample.name == "http_requests_total"}
    assert of_pages <= {"/livez", "/readyz", "/metrics", "unmatched"}
    assert {sample.labels["method"] for sample in series if "method" in sample.labels} <= {
        "GET", "HEAD", "POST", "OPTIONS", "other",
    }  # fmt: skip


def test_connections_that_say_nothing_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else as many as are let in would keep everybody else away, without a token."""
    monkeypatch.setattr(server, "HEAD_S", 0.2)
    ops = OpsServer(metrics=MetricsService(), health=lambda: Health.of([]))
    address = ops.start()
    try:
        with contextlib.ExitStack() as lines:
            made = (socket.create_connection(address[:2], timeout=60) for _ in range(CONNECTIONS_MAX))
            slow = [lines.enter_context(line) for line in made]
            for number, line in enumerate(slow):
                line.sendall([b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET"][number % 3])
            for line in slow:
                with contextlib.suppress(ConnectionError):
                    while line.recv(4096):
                        continue
            monkeypatch.setattr(server, "HEAD_S", 20.0)
            assert b" 200 " in answer(address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    finally:
        ops.stop()
