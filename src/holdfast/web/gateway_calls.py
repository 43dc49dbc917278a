"""The gateway's requests, each turned into the call that a Python caller would have made.

Whatever loop serves HTTP, calls are made on the node's own. A call goes on when its client goes away, at most until its
deadline, like any other caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from holdfast.entities.door import Receipt, SendOptions
from holdfast.entities.handler import Handler
from holdfast.errors import (
    HandlerMissing,
    HoldfastError,
    JobNotFound,
    MessageNotFound,
    SendTimeout,
)
from holdfast.jobs.definition import Job
from holdfast.jobs.door import JobStatus
from holdfast.model.address import Address, checked_entity_id
from holdfast.model.ids import SECOND_US, JobId, MessageId
from holdfast.model.storable import NUMBER_MAX
from holdfast.runtime.app import App
from holdfast.runtime.node import Node

from .gateway_input import Arguments, body_of, check_path, key_of, moment_of, number_of, timeout_of
from .gateway_problems import Declared, Refused, answer

T = TypeVar("T")

OVERTIME_S = 5.0
"""Seconds past its deadline that a call gets to say so itself; only a blocked event loop needs more."""
ID_DIGITS_MAX = 19


class Calls:
    """The endpoints."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._settings = app.settings.gateway
        self._arguments = Arguments()

    async def message(self, request: Request) -> Response:
        """Request/reply; with `Prefer: respond-async` a durable message one way."""
        address, handler = self._addressed(request)
        one_way = "respond-async" in request.headers.get("prefer", "")
        if not handler.durable and (one_way or key_of(request) is not None):
            what = "Prefer: respond-async" if one_way else "an Idempotency-Key"
            raise Refused(HTTPStatus.BAD_REQUEST, f"{handler.signature.name} is not durable: {what} is not for it")
        options = SendOptions(timeout=timeout_of(request, self._settings), key=key_of(request), delay=_delay(request))
        if options.delay is not None and not one_way:
            raise Refused(HTTPStatus.BAD_REQUEST, "a delay is for messages sent one way, with Prefer: respond-async")
        arguments = self._arguments.read(handler.signature, await body_of(request, self._settings))
        if one_way:
            return await self._send(request, address, handler, arguments, options)

        async def call(node: Node) -> Any:
            door = node.entities
            made = (door.call_durable if handler.durable else door.call)(address, handler, (), arguments, options)
            return await _outcome(made)

        return answer({"result": await self._on_node(call, options.timeout)})

    async def _send(
        self, request: Request, address: Address, handler: Handler, arguments: dict[str, Any], options: SendOptions
    ) -> Response:
        def send(node: Node) -> Coroutine[Any, Any, Receipt[Any]]:
            return node.entities.send(address, handler, (), arguments, options)

        receipt = await self._on_node(send, options.timeout)
        number = str(receipt.message_id)
        place = _place(request, f"/v1/messages/{number}")
        return answer({"id": number, "duplicate": receipt.duplicate}, 202, {"location": place})

    async def message_result(self, request: Request) -> Response:
        """The outcome of a durable message; 202 while there is none."""
        number = _number(request.path_params["message_id"], MessageNotFound)
        timeout_s = timeout_of(request, self._settings)

        def ask(_: Node) -> Coroutine[Any, Any, Any]:
            receipt: Receipt[Any] = Receipt(MessageId(number), duplicate=None)
            return _outcome(self._app.cluster.result(receipt, timeout=timeout_s))

        try:
            return answer({"result": await self._on_node(ask, timeout_s)})
        except SendTimeout:
            return answer({"id": str(number), "state": "pending"}, 202)

    async def submit(self, request: Request) -> Response:
        job = self._job(request.path_params["job_type"])
        asked = request.query_params
        options: dict[str, Any] = {"key": key_of(request), "delay": _delay(request), "group": asked.get("group")}
        if (at := asked.get("at")) is not None:
            options["at"] = moment_of("at", at)
        bound = job.opts(**options, priority=asked.get("priority"))  # type: ignore[arg-type]
        call = bound.call(**self._arguments.read(job.declared.signature, await body_of(request, self._settings)))
        handle = await self._on_node(lambda node: node.jobs.submit(call), None)
        told = {"id": handle.id, "duplicate": handle.duplicate}
        return answer(told, 202, {"location": _place(request, f"/v1/jobs/{handle.id}")})

    async def job_status(self, request: Request) -> Response:
        job = _job_id(request)
        return answer(_told(await self._on_node(lambda node: node.jobs.status(job), None)))

    async def job_result(self, request: Request) -> Response:
        """What the job returned; 202 while it goes on."""
        job, timeout_s = _job_id(request), timeout_of(request, self._settings)
        patience_s = timeout_s or self._app.settings.entities.call_timeout

        try:
            finished = await self._on_node(lambda node: node.jobs.wait(job, timeout=patience_s), patience_s)
        except (TimeoutError, SendTimeout):
            return answer({"id": job, "state": "pending"}, 202)
        declared = self._app.job_types.get(finished.job_type)
        codec = None if declared is None else declared.declared.signature.result
        return answer({"result": finished.unwrap(codec)})

    async def cancel(self, request: Request) -> Response:
        job = _job_id(request)
        return answer({"outcome": str(await self._on_node(lambda node: node.jobs.cancel(job), None))})

    def _addressed(self, request: Request) -> tuple[Address, Handler]:
        check_path(request)
        asked = request.path_params
        declared = next((kind for kind in self._app.entity_types.values() if kind.name == asked["entity_type"]), None)
        if declared is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no entity type {asked['entity_type'][:80]!r}")
        handler = declared.handlers.get(asked["method"])
        if handler is None or handler.options.stream:
            raise Refused(HTTPStatus.NOT_FOUND, f"{declared.name} has no message {asked['method'][:80]!r} here")
        return Address(declared.name, checked_entity_id(asked["entity_id"])), handler

    def _job(self, name: str) -> Job[..., Any]:
        job = self._app.job_types.get(name)
        if job is None:
            raise HandlerMissing(f"there is no job type {name[:80]!r}")
        return job

    async def _on_node(self, make: Callable[[Node], Coroutine[Any, Any, T]], timeout_s: float | None) -> T:
        """Raises NotStarted, SendTimeout where the node's loop does not answer, and what the call raises."""
        node = self._app.node
        patience_s = (timeout_s or self._app.settings.entities.call_timeout) + OVERTIME_S
        if asyncio.get_running_loop() is node.loop:
            return await make(node)
        making = asyncio.run_coroutine_threadsafe(_made(make, node), node.loop)
        waiting = asyncio.wrap_future(making)
        done, _ = await asyncio.wait([waiting], timeout=patience_s)
        if not done:
            waiting.cancel()
            raise SendTimeout(f"the node has not answered for {patience_s:g} s")
        return waiting.result()


async def _made(make: Callable[[Node], Coroutine[Any, Any, T]], node: Node) -> T:
    return await make(node)


async def _outcome(made: Coroutine[Any, Any, Any]) -> Any:
    """What a handler returned; an error that is not ours is one that it declares."""
    try:
        return await made
    except HoldfastError:
        raise
    except Exception as error:
        raise Declared(error) from error


def _told(status: JobStatus) -> dict[str, Any]:
    """As JSON says it: moments as RFC 3339."""
    moments = {"created_at": status.created_at, "due_at": status.due_at, "finished_at": status.finished_at}
    told: dict[str, Any] = {
        "id": status.id,
        "job_type": status.job_type,
        "priority": status.priority,
        "state": status.state,
        "attempts": status.attempts,
        **{name: None if at is None else datetime.fromtimestamp(at / SECOND_US, UTC) for name, at in moments.items()},
        "error": status.error,
        "reason": status.reason,
        "progress": status.progress,
        "progress_text": status.progress_text,
        "replay_of": status.replay_of,
    }
    return told


def _delay(request: Request) -> float | None:
    text = request.query_params.get("delay")
    if text is None:
        return None
    delay_s = number_of("delay", text)
    if delay_s < 0:
        raise Refused(HTTPStatus.BAD_REQUEST, f"delay is at least 0 seconds, not {text[:40]}")
    return delay_s


def _job_id(request: Request) -> JobId:
    return JobId(str(_number(request.path_params["job_id"], JobNotFound)))


def _number(text: str, missing: type[JobNotFound | MessageNotFound]) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX and int(text) <= NUMBER_MAX):
        raise missing(f"nothing has the id {text[:40]!r}")
    return int(text)


def _place(request: Request, path: str) -> str:
    """The path of another of our endpoints, wherever the gateway is mounted."""
    return f"{request.scope.get('root_path', '')}{path}"
