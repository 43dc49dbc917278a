"""The operations pages, asked over real connections to a real server on an ephemeral loopback port."""

from __future__ import annotations

import gzip
import http.client
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from holdfast.errors import ConfigurationError
from holdfast.metrics import MetricsService
from holdfast.model.health import Check, Health
from holdfast.web.ops import OpsServer
from holdfast.web.server import HttpAddress

PATIENCE_S = 60.0
GOOD = Health.of([Check("store", True, "sqlite"), Check("loop", True, "")])
BAD = Health.of([Check("store", False, "disk\nfull"), Check("loop", True, "")])


class Process:
    """What the pages tell about, and the client that asks them."""

    def __init__(self) -> None:
        self.metrics = MetricsService()
        self.health: Callable[[], Health] = lambda: GOOD

    @contextmanager
    def serving(self, **options: Any) -> Iterator[httpx.Client]:
        ops = OpsServer(metrics=self.metrics, health=lambda: self.health(), **options)
        address = ops.start()
        try:
            with httpx.Client(base_url=address.url, timeout=PATIENCE_S) as client:
                yield client
        finally:
            ops.stop()


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def client(process: Process) -> Iterator[httpx.Client]:
    with process.serving() as client:
        yield client


def test_alive_is_whoever_answers(client: httpx.Client) -> None:
    """Not ready is still alive."""
    assert (client.get("/livez").status_code, client.get("/livez").text) == (200, "alive\n")


def test_liveness_does_not_need_the_main_thread(process: Process) -> None:
    """While the main thread computes without a pause, another process's question is answered."""
    answers: list[int] = []
    done = Event()

    with process.serving() as client:

        def ask() -> None:
            for _ in range(3):
                answers.append(client.get("/livez").status_code)
            done.set()

        prober = Thread(target=ask)
        prober.start()
        give_up = time.monotonic() + PATIENCE_S
        while not done.is_set() and time.monotonic() < give_up:
            sum(range(1000))  # the main thread is blocked: it never waits, sleeps or runs a loop
        assert done.is_set(), "it was answered only once the main thread was free"
        prober.join()
    assert answers == [200] * 3


def test_ready_and_not_ready_are_told_apart_by_status(process: Process, client: httpx.Client) -> None:
    """The answer follows the health of the moment."""
    assert (client.get("/readyz").status_code, client.get("/readyz").text) == (200, "ready\n")
    process.health = lambda: BAD
    assert (client.get("/readyz").status_code, client.get("/readyz").text) == (503, "not ready\n")


def test_verbose_tells_each_check_on_a_line(process: Process, client: httpx.Client) -> None:
    """What an operator reads at night, one line a check, whatever its detail holds."""
    process.health = lambda: BAD
    lines = client.get("/readyz?verbose").text.splitlines()
    assert lines == ["not ready", "[failed] store: disk full", "[ok] loop"]


def test_a_raising_check_is_not_ready_and_tells_no_internals(
    process: Process, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The page names the error's class; the rest is in the log."""

    def breaks() -> Health:
        raise LookupError("password=hunter2")

    process.health = breaks
    with caplog.at_level(logging.ERROR, "holdfast.web.ops"):
        answer = client.get("/readyz?verbose")
    assert answer.status_code == 503
    assert "LookupError" in answer.text and "hunter2" not in answer.text
    assert "hunter2" in caplog.text


def test_a_hanging_check_does_not_hold_liveness(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not ready after its time, and alive all the while."""
    monkeypatch.setattr("holdfast.web.ops.HEALTH_TIMEOUT_S", 0.05)
    release = Event()

    def hangs() -> Health:
        release.wait(30)
        return GOOD

    process.health = hangs
    try:
        with process.serving() as client:
            answer = client.get("/readyz?verbose")
            assert answer.status_code == 503 and "takes more than 0.05 s" in answer.text
            assert client.get("/livez").status_code == 200
    finally:
        release.set()


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8", prometheus),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8", prometheus),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            openmetrics,
        ),
    ],
    ids=["unasked", "text", "openmetrics"],
)
def test_a_scrape_comes_in_the_format_asked_for(
    process: Process,
    client: httpx.Client,
    accept: str | None,
    content_type: str,
    parse: Callable[[str], Iterator[Metric]],
) -> None:
    """The official parser reads it, and finds what was counted."""
    process.metrics.cluster.messages_sent.labels(entity_type="Cart", operation="send").inc(3)
    answer = client.get("/metrics", headers={"accept": accept} if accept else {"accept": ""})
    assert answer.headers["content-type"] == content_type
    samples = [sample for family in parse(answer.text) for sample in family.samples]
    assert [s.value for s in samples if s.name == "cluster_messages_sent_total"] == [3]


@pytest.mark.parametrize(
    ("encoding", "zipped"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("identity", False), ("gzip;q=0", False), ("", False)],
)
def test_a_scrape_is_zipped_only_where_accepted(process: Process, encoding: str, zipped: bool) -> None:
    """And says that caches must mind it."""
    for number in range(50):
        process.metrics.errors.total.labels(type=f"Error{number}").inc()
    with process.serving() as client:
        connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port or 0, timeout=PATIENCE_S)
        connection.request("GET", "/metrics", headers={"accept-encoding": encoding})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert (answer.headers["content-encoding"] == "gzip") == zipped
    assert b"Error49" in (gzip.decompress(body) if zipped else body)


def test_metrics_that_cannot_be_rendered_are_an_error_not_an_empty_page(
    process: Process, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A scraper must see that it failed; an operator finds why in the log."""

    def breaks(accept: str | None = None) -> tuple[str, bytes]:
        raise LookupError("no such shelf")

    monkeypatch.setattr(process.metrics, "exposition", breaks)
    with caplog.at_level(logging.ERROR, "holdfast.web.ops"):
        answer = client.get("/metrics")
    assert answer.status_code == 500 and "shelf" not in answer.text
    assert "no such shelf" in caplog.text


def test_requests_are_counted_by_route_and_status(process: Process) -> None:
    """Paths and methods that strangers make up do not become series."""
    with process.serving() as client:
        for path in ("/livez", "/livez", "/made-up-1", "/made-up-2"):
            client.get(path)
        client.request("BREW", "/livez")
        client.post("/livez")

    def counted(**labels: str) -> float:
        return process.metrics.value("http_requests_total", **labels)

    assert counted(method="GET", route="/livez", status="200") == 2
    assert counted(method="GET", route="unmatched", status="404") == 2
    assert counted(method="other", route="/livez", status="405") == 1
    assert counted(method="POST", route="/livez", status="405") == 1
    assert counted() == process.metrics.value("http_request_duration_seconds_count") == 6
    assert process.metrics.value("http_requests_active") == 0


def test_what_is_not_a_page_is_denied(client: httpx.Client) -> None:
    """No route is open by accident, and only reading is allowed."""
    assert client.get("/").status_code == 404
    assert client.get("/metrics/").status_code in (307, 404)
    assert client.get("/../etc/passwd").status_code == 404
    assert client.post("/metrics").status_code == 405
    assert client.head("/livez").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:1", 200),
        ("10.1.2.3", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[evil", 421),
    ],
)
def test_a_host_of_another_name_is_refused(client: httpx.Client, host: str, status: int) -> None:
    """A page elsewhere that makes its own name lead here gets nothing; numeric hosts cannot be rebound."""
    assert client.get("/livez", headers={"host": host}).status_code == status


def test_further_names_can_be_given(process: Process) -> None:
    """For a name that a proxy or a scraper uses."""
    with process.serving(hosts=["ops.internal"]) as client:
        assert client.get("/livez", headers={"host": "ops.internal:9100"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
def test_another_sites_page_is_refused(client: httpx.Client, origin: str) -> None:
    """Also one on this machine with another port."""
    assert client.get("/readyz?verbose", headers={"origin": origin}).status_code == 403


def test_this_sites_own_page_is_not(client: httpx.Client) -> None:
    """Its origin is where it came from."""
    origin = str(client.base_url).rstrip("/")
    assert client.get("/readyz", headers={"origin": origin}).status_code == 200


def test_answers_are_not_stored_sniffed_or_framed(client: httpx.Client) -> None:
    """The refused ones too."""
    for answer in (
        client.get("/livez"),
        client.get("/nothing"),
        client.get("/livez", headers={"host": "evil.example"}),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/nothing"])
def test_with_a_token_everything_needs_it(process: Process, path: str) -> None:
    """Closed without it, on every path; never said what would have been there."""
    with process.serving(token="correct-horse") as client:
        for authorization in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic correct-horse"}):
            assert client.get(path, headers=authorization).status_code == 401
        answer = client.get(path, headers={"authorization": "Bearer correct-horse"})
        assert answer.status_code == (404 if path == "/nothing" else 200)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_an_address_for_other_machines_needs_a_token(process: Process, host: str) -> None:
    """Nobody opens a port to the world by a setting alone."""
    with pytest.raises(ConfigurationError, match="could be reached from other machines"):
        OpsServer(host, 0, metrics=process.metrics, health=lambda: GOOD).start()


def test_with_a_token_it_may_listen_on_every_address(process: Process) -> None:
    """What a container needs."""
    with process.serving(token="correct-horse", host="0.0.0.0") as client:
        port = client.base_url.port
        url = f"http://127.0.0.1:{port}/livez"
        assert httpx.get(url, timeout=PATIENCE_S).status_code == 401
        bearer = {"authorization": "Bearer correct-horse"}
        assert httpx.get(url, headers=bearer, timeout=PATIENCE_S).status_code == 200


def test_an_empty_token_is_refused(process: Process) -> None:
    """An unset variable must not open the door."""
    with pytest.raises(ConfigurationError, match="token"):
        OpsServer("0.0.0.0", 0, metrics=process.metrics, health=lambda: GOOD, token=" ")


def test_a_port_in_use_is_named(process: Process, client: httpx.Client) -> None:
    """At start, in the caller's thread, with what to do about it."""
    taken = client.base_url.port or 0
    with pytest.raises(ConfigurationError, match=rf"port {taken}: the port is in use"):
        OpsServer("127.0.0.1", taken, metrics=process.metrics, health=lambda: GOOD).start()


def test_a_host_that_does_not_exist_is_named(process: Process) -> None:
    """A misspelt setting is an error at start."""
    with pytest.raises(ConfigurationError, match=r"can't listen on 'no-such-host\.invalid'"):
        OpsServer("no-such-host.invalid", 0, metrics=process.metrics, health=lambda: GOOD).start()


def test_it_stops_twice_before_start_and_starts_again(process: Process) -> None:
    """And the port is closed when stop returns."""
    ops = OpsServer(metrics=process.metrics, health=lambda: GOOD)
    ops.stop()
    for _ in range(2):
        address = ops.start()
        with pytest.raises(RuntimeError, match="already running"):
            ops.start()
        assert httpx.get(f"{address.url}/livez", timeout=PATIENCE_S).status_code == 200
        ops.stop()
        ops.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address).close()


def test_an_open_connection_does_not_hold_the_stop(process: Process) -> None:
    """A scraper keeps its connection open for ever; stopping does not wait for it."""
    with process.serving() as client, socket.create_connection((client.base_url.host, client.base_url.port or 0)):
        client.get("/livez")
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE_S


def test_it_leaves_the_programs_own_loggers_alone(process: Process) -> None:
    """The user's server of the same kind, in the same process, keeps its access log."""
    access = logging.getLogger("uvicorn.access")
    before = (access.propagate, access.level, list(access.handlers))
    with process.serving():
        assert (access.propagate, access.level, list(access.handlers)) == before


def test_addresses_of_both_kinds_make_urls() -> None:
    """The brackets that clients need."""
    assert HttpAddress("127.0.0.1", 80).url == "http://127.0.0.1:80"
    assert HttpAddress("::1", 80).url == "http://[::1]:80"
