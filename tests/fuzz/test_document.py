"""The gateway, asked by a machine that has read nothing but its OpenAPI document.

What the document allows and what it forbids is tried alike; whatever comes back is of a status, a kind and a shape that
the document names. What a request means is asked elsewhere, in `test_gateway`.
"""

from __future__ import annotations

import asyncio
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.unit.web.gateway_shop import shop

from .effort import SEED, TIMES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed"),
]

TOKEN = "a token of some length"
BEARER = {"authorization": f"Bearer {TOKEN}"}
LEFT_OUT = ("/fail", "/sleep", "/hold", "/hold_durably")
"""Handlers that fail by design, which is an answer of 500, or take as long as they are told."""
EXAMPLES = 4
PATIENCE_S = 30


def ask_everything(url: str) -> int:
    """In a thread of its own, since it blocks. Returns how many requests of its own making were answered."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own, about its dependencies
        import schemathesis
        from schemathesis.specs.openapi import checks

    def no_failure_of_the_server(_context: Any, response: Any, case: Any) -> None:
        ran_out = response.status_code == 504 and "timeout" in case.query  # a time that the request itself set
        assert response.status_code < 500 or ran_out, response.text

    answers = [
        no_failure_of_the_server,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    asked = 0

    def ask(case: Any) -> None:
        nonlocal asked
        case.call_and_validate(base_url=url, headers=BEARER, checks=answers, timeout=PATIENCE_S)
        asked += 1

    print(f"HOLDFAST_SEED={SEED}")  # shown where the test fails
    document = schemathesis.openapi.from_url(f"{url}/v1/openapi.json", headers=BEARER)
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.path.endswith(LEFT_OUT):
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            _repeatedly(ask, operation.as_strategy(generation_mode=mode))
    return asked


def _repeatedly(ask: Any, cases: Any) -> None:
    bounded = hypothesis.settings(
        max_examples=EXAMPLES * TIMES,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],  # a shrunk request is not worth its time: the failure shows the request
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(SEED)(bounded(hypothesis.given(cases)(ask)))()


async def test_every_answer_is_one_of_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_GATEWAY_TOKEN", TOKEN)
    app = shop()
    async with app.runner(store=f"sqlite:///{tmp_path}/shop.db", gateway="127.0.0.1:0"):
        assert app.gateway_url is not None
        assert await asyncio.to_thread(ask_everything, app.gateway_url) > 50
