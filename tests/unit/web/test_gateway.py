"""The gateway, asked over real connections by what could be a program in any language."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from holdfast import App
from holdfast.errors import ConfigurationError
from holdfast.web import gateway
from tests.support.certificates import OPENSSL, Authority
from tests.unit.web.gateway_shop import shop

TOKEN = "a token of some length"
PROBLEM = "application/problem+json"


class Served:
    """An App with its gateway, and somebody who asks it."""

    def __init__(self, app: App, gate: asyncio.Event, client: httpx.AsyncClient, url: str) -> None:
        self.app = app
        self.gate = gate
        self.client = client
        self.url = url

    async def call(self, cart: str, method: str, arguments: Any = None, **options: Any) -> httpx.Response:
        return await self.client.post(f"/v1/entities/Cart/{cart}/{method}", json=arguments or {}, **options)

    async def submit(self, job: str, arguments: Any = None, **options: Any) -> httpx.Response:
        return await self.client.post(f"/v1/jobs/{job}", json=arguments or {}, **options)


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """By a runner of its own."""
    monkeypatch.setenv("HOLDFAST_GATEWAY_TOKEN", TOKEN)
    gate = asyncio.Event()
    app = shop(gate=gate, body_timeout=60.0)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.runner(store=f"sqlite:///{tmp_path}/shop.db", gateway="127.0.0.1:0"))
        url = app.gateway_url
        assert url is not None
        headers = {"authorization": f"Bearer {TOKEN}"}
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, headers=headers, timeout=60))
        yield Served(app, gate, client, url)


def problem_of(response: httpx.Response, status: int, reason: str, executed: str = "no") -> dict[str, Any]:
    """The document, which says in itself what the answer's head does."""
    document: dict[str, Any] = response.json()
    assert response.status_code == document["status"] == status, document
    assert response.headers["content-type"] == PROBLEM
    assert (document["reason"], document["executed"]) == (reason, executed)
    assert document["type"] == f"urn:holdfast:error:{reason}" and document["title"]
    return document


async def test_a_message_is_called_with_arguments_by_name(served: Served) -> None:
    await served.call("c-1", "add", {"line": {"sku": "apple", "qty": 1}})
    response = await served.call("c-1", "add", {"line": {"sku": "pear", "qty": 2}})
    assert response.json() == {"result": [{"sku": "apple", "qty": 1}, {"sku": "pear", "qty": 2}]}
    assert response.headers["content-type"] == "application/json"


async def test_arguments_and_results_are_of_the_handlers_types(served: Served) -> None:
    arguments = {"raw": "AQI=", "at": "2026-01-01T00:00:00Z", "by": {"1": 1.5, "2": 0.5}}
    response = await served.call("c", "shift", arguments)
    assert response.json() == {"result": ["AgE=", "2026-01-01T00:00:02Z"]}
    greeting = await served.call("c", "greet", {"customer": {"name": "Ada", "age": 36}, "loud": True})
    assert greeting.json() == {"result": "hello Ada!"}


async def test_an_entity_id_may_hold_any_character(served: Served) -> None:
    await served.call("a%2Fb%20%C3%A4", "add", {"line": {"sku": "x"}})
    ref = served.app.ref(next(iter(served.app.entity_types)), "a/b ä")
    assert len(await ref.add(line={"sku": "y"})) == 2  # type: ignore[attr-defined]


async def test_bytes_that_are_no_text_name_no_entity(served: Served) -> None:
    response = await served.call("a%FF", "add", {"line": {"sku": "x"}})
    assert (response.status_code, response.json()["detail"]) == (400, "the path is no UTF-8")


@pytest.mark.parametrize(
    "body,match",
    [
        (b"[1]", "no JSON object"),
        (b"{", "no JSON object"),
        (b"\xff", "no JSON object"),
        (b"[" * 5000, "no JSON object"),
        (b'{"line": ' + b"[" * 4000 + b"]" * 4000 + b"}", "object"),
        (b'{"line": {"sku": 1}}', "line: Expected `str`, got `int`"),
        (b"{}", "needs 'line'"),
        (b'{"line": {"sku": "a"}, "lien": 1}', "no parameter 'lien'"),
    ],
)
async def test_bad_input_is_named_and_nothing_runs(served: Served, body: bytes, match: str) -> None:
    headers = {"content-type": "application/json"}
    response = await served.client.post("/v1/entities/Cart/c/add", content=body, headers=headers)
    assert match in problem_of(response, 400, "MalformedMessage")["detail"]
    assert (await served.call("c", "note", {"text": "a"})).json() == {"result": 1}


@pytest.mark.parametrize(
    "method,path,status",
    [
        ("POST", "/v1/entities/Car/c/add", 404),
        ("POST", "/v1/entities/Cart/c/ad", 404),
        ("POST", "/v1/entities/Cart/c/each", 404),
        ("POST", "/v1/entities/Cart/c/state", 404),
        ("POST", "/v1/entities/Cart/c/__init__", 404),
        ("POST", "/v1/entities/Cart/c/on_activate", 404),
        ("GET", "/v1/entities/Cart/c/add", 405),
        ("DELETE", "/v1/jobs/1", 405),
        ("GET", "/", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v1/jobs/1/", 404),
    ],
)
async def test_what_is_not_declared_is_refused(served: Served, method: str, path: str, status: int) -> None:
    response = await served.client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("offered", [None, "", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
@pytest.mark.parametrize("path", ["/v1/entities/Cart/c/add", "/v1/openapi.json", "/nowhere"])
async def test_nothing_is_told_without_the_token(served: Served, offered: str | None, path: str) -> None:
    headers = {} if offered is None else {"authorization": offered}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as stranger:
        response = await stranger.post(path, json={})
    problem_of(response, 401, "Unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_other_sites_and_rebound_names_are_refused(served: Served) -> None:
    foreign = await served.call("c", "add", headers={"origin": "https://evil.example"})
    problem_of(foreign, 403, "Forbidden")
    rebound = await served.call("c", "add", headers={"host": "evil.example"})
    problem_of(rebound, 421, "MisdirectedRequest")


async def test_a_large_body_is_refused_by_its_word_and_by_its_size(served: Served) -> None:
    large = b'{"text": "' + b"x" * 20_000 + b'"}'
    headers = {"content-type": "application/json"}

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 1000):
            yield large[start : start + 1000]

    told = await served.client.post("/v1/entities/Cart/c/note", content=large, headers=headers)
    problem_of(told, 413, "ContentTooLarge")
    untold = await served.client.post("/v1/entities/Cart/c/note", content=pieces(), headers=headers)
    problem_of(untold, 413, "ContentTooLarge")


async def test_a_slow_body_is_waited_for_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends a byte now and then would otherwise hold a place for ever."""
    monkeypatch.setenv("HOLDFAST_GATEWAY_TOKEN", TOKEN)
    app = shop()
    async with app.runner(store=f"sqlite:///{tmp_path}/shop.db", gateway="127.0.0.1:0"):
        place = urlsplit(app.gateway_url or "")
        assert place.hostname is not None
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            head = "POST /v1/entities/Cart/c/note HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n"
            writer.write(f"{head}Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\r\n{{".encode())
            async with asyncio.timeout(60):
                answer = (await reader.read()).decode()
        finally:
            writer.close()
    assert answer.startswith("HTTP/1.1 408 ")
    assert '"executed":"no"' in answer


async def test_a_body_that_is_not_json_by_its_own_word_is_refused(served: Served) -> None:
    """A web form can be sent by any site's page, JSON can not."""
    response = await served.client.post("/v1/entities/Cart/c/note", data={"text": "a"})
    problem_of(response, 415, "UnsupportedMediaType")


async def test_a_declared_error_is_a_result(served: Served) -> None:
    document = problem_of(await served.call("c", "refuse", {"sku": "apple"}), 422, "SoldOut", "yes")
    assert (document["declared"], document["arguments"]) == (True, ["apple", 3])


async def test_any_other_error_says_nothing_of_itself(served: Served) -> None:
    response = await served.call("c", "fail")
    document = problem_of(response, 500, "HandlerFailed")
    assert document["error_type"] == "ValueError" and document["incident"]
    assert "secret" not in response.text


@pytest.mark.parametrize("options", [{"params": {"timeout": "0.05"}}, {"headers": {"holdfast-timeout": "0.05"}}])
async def test_a_deadline_ends_a_call(served: Served, options: dict[str, Any]) -> None:
    async with asyncio.timeout(60):
        while True:
            response = await served.call("c", "hold", **options)
            executed = response.json()["executed"]
            problem_of(response, 504, "SendTimeout", executed)
            if executed == "unknown":  # and not "no", where the deadline came before the handler began
                break


@pytest.mark.parametrize("timeout", ["0", "-1", "31", "nan", "inf", "soon", ""])
async def test_a_deadline_that_can_not_be_is_refused(served: Served, timeout: str) -> None:
    response = await served.call("c", "sleep", {"seconds": 0}, params={"timeout": timeout})
    if timeout:
        problem_of(response, 400, "BadRequest")
    else:
        assert response.json() == {"result": None}


async def test_a_full_mailbox_asks_for_patience(served: Served) -> None:
    answers = asyncio.as_completed([served.call("c", "hold") for _ in range(8)])
    refused = [await answer for answer in islice(answers, 5)]  # one is handled at most, and two wait
    served.gate.set()
    for response in refused:
        problem_of(response, 429, "MailboxFull")
        assert response.headers["retry-after"] == "1"
    assert [(await answer).status_code for answer in answers][-1] == 200


async def test_a_key_makes_a_durable_message_run_once(served: Served) -> None:
    key = {"idempotency-key": "k-1"}
    quoted = {"idempotency-key": '"k-1"'}
    first = await served.call("c", "note", {"text": "a"}, headers=key)
    second = await served.call("c", "note", {"text": "a"}, headers=quoted)
    assert first.json() == second.json() == {"result": 1}
    problem_of(await served.call("c", "note", {"text": "b"}, headers=key), 422, "KeyConflict")


@pytest.mark.parametrize("header", [{"idempotency-key": "k"}, {"prefer": "respond-async"}])
async def test_what_only_durable_messages_keep_is_refused_for_others(served: Served, header: dict[str, str]) -> None:
    """Silently doing without it would run twice what its sender believes to run once."""
    document = problem_of(await served.call("c", "add", {"line": {"sku": "a"}}, headers=header), 400, "BadRequest")
    assert "not durable" in document["detail"]


async def test_a_message_one_way_has_a_receipt_that_leads_to_its_outcome(served: Served) -> None:
    sent = await served.call("c", "note", {"text": "a"}, headers={"prefer": "respond-async"})
    assert (sent.status_code, sent.json()["duplicate"]) == (202, False)
    assert sent.headers["location"] == f"/v1/messages/{sent.json()['id']}"
    assert (await served.client.get(sent.headers["location"])).json() == {"result": 1}


async def test_an_outcome_that_is_not_there_yet_is_pending(served: Served) -> None:
    sent = await served.call("c", "hold_durably", headers={"prefer": "respond-async"})
    early = await served.client.get(sent.headers["location"], params={"timeout": "0.05"})
    assert (early.status_code, early.json()["state"]) == (202, "pending")
    served.gate.set()
    assert (await served.client.get(sent.headers["location"])).json() == {"result": "held"}


@pytest.mark.parametrize("message_id", ["999999", "abc", "-1", "1" * 30])
async def test_an_unknown_message_is_not_found(served: Served, message_id: str) -> None:
    problem_of(await served.client.get(f"/v1/messages/{message_id}"), 404, "MessageNotFound")


async def test_a_job_is_submitted_watched_and_gives_its_result(served: Served) -> None:
    submitted = await served.submit("double", {"number": 21}, headers={"idempotency-key": "k"})
    job = submitted.json()["id"]
    assert (submitted.status_code, submitted.json()["duplicate"]) == (202, False)
    assert submitted.headers["location"] == f"/v1/jobs/{job}"
    assert (await served.client.get(f"/v1/jobs/{job}/result")).json() == {"result": 42}
    status = (await served.client.get(f"/v1/jobs/{job}")).json()
    assert (status["state"], status["job_type"], status["priority"]) == ("completed", "double", "normal")
    assert abs((datetime.fromisoformat(status["created_at"]) - datetime.now(UTC)).total_seconds()) < 60
    again = await served.submit("double", {"number": 21}, headers={"idempotency-key": "k"})
    assert again.json() == {"id": job, "duplicate": True}
    problem_of(await served.submit("double", {"number": 2}, headers={"idempotency-key": "k"}), 422, "Validation")


async def test_a_job_takes_its_options_from_the_query(served: Served) -> None:
    options = {"priority": "high", "group": "g", "at": "2099-01-01T00:00:00+00:00"}
    job = (await served.submit("double", {"number": 1}, params=options)).json()["id"]
    status = (await served.client.get(f"/v1/jobs/{job}")).json()
    assert (status["priority"], status["state"], status["due_at"]) == ("high", "scheduled", "2099-01-01T00:00:00Z")
    later = (await served.submit("double", {"number": 1}, params={"delay": "3600"})).json()["id"]
    assert (await served.client.get(f"/v1/jobs/{later}")).json()["state"] == "scheduled"
    pending = await served.client.get(f"/v1/jobs/{later}/result", params={"timeout": "0.05"})
    assert (pending.status_code, pending.json()) == (202, {"id": later, "state": "pending"})


@pytest.mark.parametrize(
    "options", [{"priority": "urgent"}, {"delay": "-1"}, {"delay": "x"}, {"at": "today"}, {"at": "2026-01-01T00:00:00"}]
)
async def test_options_that_can_not_be_are_refused(served: Served, options: dict[str, str]) -> None:
    response = await served.submit("double", {"number": 1}, params=options)
    assert response.status_code == 400 and response.json()["executed"] == "no"


async def test_a_cancel_tells_what_it_did_and_when_it_was_too_late(served: Served) -> None:
    job = (await served.submit("wait_long", {"seconds": 600}, params={"delay": "600"})).json()["id"]
    assert (await served.client.post(f"/v1/jobs/{job}/cancel")).json() == {"outcome": "cancelled"}
    problem_of(await served.client.post(f"/v1/jobs/{job}/cancel"), 409, "AlreadyCancelled")
    problem_of(await served.client.get(f"/v1/jobs/{job}/result"), 409, "JobCancelled", "unknown")


async def test_jobs_that_are_not_there_or_died_say_so(served: Served) -> None:
    problem_of(await served.client.get("/v1/jobs/999999"), 404, "NotFound")
    problem_of(await served.client.get("/v1/jobs/x%20y"), 404, "NotFound")
    problem_of(await served.submit("triple"), 404, "HandlerMissing")
    problem_of(await served.submit("double", {"number": "x"}), 400, "MalformedMessage")
    job = (await served.submit("break_down")).json()["id"]
    problem_of(await served.client.get(f"/v1/jobs/{job}/result"), 500, "MaxRetries", "yes")


async def test_the_document_names_every_message_and_job_with_its_types(served: Served) -> None:
    document = (await served.client.get("/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    add = document["paths"]["/v1/entities/Cart/{id}/add"]["post"]
    assert (add["operationId"], add["summary"]) == ("Cart.add", "Puts something in.")
    body = add["requestBody"]["content"]["application/json"]["schema"]
    assert (body["required"], body["additionalProperties"]) == (["line"], False)
    assert body["properties"]["line"] == {"$ref": "#/components/schemas/Line"}
    greet = document["paths"]["/v1/entities/Cart/{id}/greet"]["post"]
    loud = greet["requestBody"]["content"]["application/json"]["schema"]["properties"]["loud"]
    assert loud == {"type": "boolean", "default": False}
    assert "/v1/entities/Cart/{id}/each" not in document["paths"]
    assert "202" in document["paths"]["/v1/entities/Cart/{id}/note"]["post"]["responses"]
    assert "/v1/jobs/double" in document["paths"]


async def test_every_reference_in_the_document_leads_somewhere(served: Served) -> None:
    document = (await served.client.get("/v1/openapi.json")).json()
    references = set[str]()

    def collect(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                references.add(part["$ref"])
            for value in part.values():
                collect(value)
        elif isinstance(part, list):
            for value in part:
                collect(value)

    collect(document)
    assert "#/components/schemas/Line" in references
    for reference in references:
        found = document
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]


async def test_requests_are_counted_by_route_and_never_by_id(served: Served) -> None:
    await served.call("c-secret", "add", {"line": {"sku": "a"}})
    await served.call("c-secret", "nothing")
    await served.client.get("/v1/openapi.json")  # a request is counted once its answer is out, and before the next one
    text = served.app.metrics.exposition()[1].decode()
    lines = [line for line in text.splitlines() if line.startswith("http_requests_total{")]
    assert any("/v1/entities/{entity_type}" in line and 'status="200"' in line for line in lines), lines
    assert any('status="404"' in line for line in lines)
    assert "c-secret" not in text
    assert "http_request_duration_seconds_count{" in text and "http_requests_active{" in text


async def test_a_client_node_serves_it_too(served: Served) -> None:
    other = shop()
    async with other.client(store=served.app.node.store_url, gateway="127.0.0.1:0"):
        url = other.gateway_url
        assert url is not None and url != served.url
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
            added = await client.post("/v1/entities/Cart/c/add", json={"line": {"sku": "a", "qty": 1}})
            assert added.json() == {"result": [{"sku": "a", "qty": 1}]}
            job = (await client.post("/v1/jobs/double", json={"number": 4})).json()["id"]
            assert (await client.get(f"/v1/jobs/{job}/result")).json() == {"result": 8}
            full = await client.post("/v1/entities/Cart/c/refuse", json={"sku": "x"})
            problem_of(full, 422, "SoldOut", "yes")
    assert other.gateway_url is None


async def test_it_can_be_mounted_in_another_app(tmp_path: Path) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = shop()
    site = Starlette(routes=[Mount("/holdfast", gateway(app, token=TOKEN, hosts=["api.example"]))])
    transport = httpx.ASGITransport(site)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example", headers=headers) as client:
        closed = await client.post("/holdfast/v1/jobs/double", json={"number": 1})
        problem_of(closed, 503, "NotStarted")
        async with app.runner(store=f"sqlite:///{tmp_path}/shop.db"):
            submitted = await client.post("/holdfast/v1/jobs/double", json={"number": 1})
            assert submitted.headers["location"] == f"/holdfast/v1/jobs/{submitted.json()['id']}"
            result = await client.get(f"{submitted.headers['location']}/result")
            assert result.json() == {"result": 2}


async def test_more_requests_than_allowed_are_refused(tmp_path: Path) -> None:
    gate = asyncio.Event()
    app = shop(gate=gate)
    app.settings = app.settings.__class__(gateway=app.settings.gateway.__class__(requests_max=1))
    transport = httpx.ASGITransport(gateway(app, token=TOKEN))
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with (
        app.runner(store=f"sqlite:///{tmp_path}/shop.db"),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client,
    ):
        answers = asyncio.as_completed([client.post("/v1/entities/Cart/c/hold", json={}) for _ in range(3)])
        assert [(await answer).status_code for answer in islice(answers, 2)] == [503, 503]
        gate.set()
        assert [(await answer).status_code for answer in answers] == [200]


@pytest.mark.parametrize("token", ["", "   ", "short"])
async def test_a_token_that_could_be_guessed_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        gateway(shop(), token=token)


async def test_it_does_not_start_without_a_token_or_beyond_the_loopback_without_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.db"
    store = f"sqlite:///{path}"
    monkeypatch.delenv("HOLDFAST_GATEWAY_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match="HOLDFAST_GATEWAY_TOKEN"):
        async with shop().runner(store=store, gateway="127.0.0.1:0"):
            pass
    monkeypatch.setenv("HOLDFAST_GATEWAY_TOKEN", TOKEN)
    with pytest.raises(ConfigurationError, match="HOLDFAST_TLS_CERT"):
        async with shop().runner(store=store, gateway="0.0.0.0:0"):
            pass
    assert not path.exists(), "it had opened the store before it refused"


async def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    app = shop()
    async with app.runner(store=f"sqlite:///{tmp_path}/shop.db"):
        assert app.gateway_url is None


@pytest.mark.skipif(OPENSSL is None, reason="certificates are made by the openssl command")
async def test_with_a_certificate_it_speaks_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clients need the token and no certificate of the cluster's."""
    authority = Authority(tmp_path, "cluster")
    files = authority.certificate("runner", names="DNS:localhost,IP:127.0.0.1")
    named = (("CERT", files.certificate), ("KEY", files.key), ("CA", files.authority))
    for name, path in named:
        monkeypatch.setenv(f"HOLDFAST_TLS_{name}", str(path))
    monkeypatch.setenv("HOLDFAST_GATEWAY_TOKEN", TOKEN)
    app = shop()
    async with app.runner(store=f"sqlite:///{tmp_path}/shop.db", gateway="127.0.0.1:0"):
        url = app.gateway_url
        assert url is not None and url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=str(authority.path))
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, verify=trust, timeout=60) as client:
            assert (await client.get("/v1/openapi.json")).status_code == 200
