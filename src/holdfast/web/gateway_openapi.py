"""The OpenAPI 3.1 document of an App's gateway, made from its declarations: one path per message and job type."""

from __future__ import annotations

import copy
from importlib.metadata import version
from typing import Any

import msgspec

from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.jobs.definition import Job
from holdfast.model.job import PRIORITIES, JobState
from holdfast.model.signature import Signature
from holdfast.runtime.app import App

Schema = dict[str, Any]

_REF = "#/components/schemas/{name}"
_TEXT: Schema = {"type": "string"}
_WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 512}


class Document:
    """Made when it is asked for, and again when more has been declared since."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._made: tuple[tuple[int, int], Schema] | None = None

    def current(self) -> Schema:
        app = self._app
        size = len(app.entity_types), len(app.job_types)
        if self._made is None or self._made[0] != size:
            self._made = size, document_of(app)
        return self._made[1]


def document_of(app: App) -> Schema:
    """The whole document."""
    types = _Types(app)
    paths: dict[str, Schema] = {}
    for declared in app.entity_types.values():
        for handler in declared.handlers.values():
            if not handler.options.stream:
                path = f"/v1/entities/{declared.name}/{{id}}/{handler.name}"
                paths[path] = {"post": _message(declared, handler, types)}
    for job in app.job_types.values():
        paths[f"/v1/jobs/{job.declared.name}"] = {"post": _submit(job, types)}
    return {
        "openapi": "3.1.0",
        "info": {"title": app.name, "version": version("holdfast")},
        "security": [{"token": []}],
        "paths": {**paths, **_FIXED_PATHS},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**types.components, **_SCHEMAS},
            "parameters": {"holdfast.Timeout": _timeout(app.settings.gateway.timeout_max)},
        },
    }


class _Types:
    """The JSON schemas of all that travels; named types stand under `components`."""

    def __init__(self, app: App) -> None:
        self.components: dict[str, Schema] = {}
        signatures = [handler.signature for kind in app.entity_types.values() for handler in kind.handlers.values()]
        signatures += [job.declared.signature for job in app.job_types.values()]
        self._hints = [hint for signature in signatures for hint in (*signature.hints.values(), signature.result.hint)]
        schemas, components = msgspec.json.schema_components(self._hints, schema_hook=self._foreign, ref_template=_REF)
        self._schemas = {id(hint): schema for hint, schema in zip(self._hints, schemas, strict=True)}
        self.components.update(components)

    def of(self, hint: Any) -> Schema:
        return copy.deepcopy(self._schemas[id(hint)])

    def arguments(self, signature: Signature) -> Schema:
        defaults = signature.defaults
        properties = {name: self.of(hint) for name, hint in signature.hints.items()}
        for name, default in defaults.items():
            _note_default(properties[name], default)
        required = [name for name in signature.hints if name not in defaults]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def _foreign(self, kind: type) -> Schema:
        """A pydantic model describes itself; what it refers to becomes a component too."""
        model: Any = kind
        described: Schema = model.model_json_schema(ref_template=_REF.replace("name", "model"))
        self.components.update(described.pop("$defs", {}))
        return described


def _note_default(schema: Schema, default: object) -> None:
    try:
        value = msgspec.to_builtins(default)
    except (TypeError, ValueError):
        return
    if "$ref" not in schema:
        schema["default"] = value


def _message(declared: EntityType, handler: Handler, types: _Types) -> Schema:
    parameters: list[Schema] = [_parameter("id", "path", _TEXT, required=True), _TIMEOUT]
    responses = {"200": _json({"type": "object", "properties": {"result": types.of(handler.signature.result.hint)}})}
    if handler.durable:
        parameters += [
            _KEY,
            _parameter("Prefer", "header", {"const": "respond-async"}),
            _parameter("delay", "query", {"type": "number", "minimum": 0}),
        ]
        responses["202"] = _json(_ref("schemas", "holdfast.Receipt"))
    if handler.errors:
        names = ", ".join(sorted(handler.errors))
        responses["422"] = _problem(f"A declared error ({names}), or a key that was used with other arguments")
    return {
        "operationId": f"{declared.name}.{handler.name}",
        "tags": [declared.name],
        **_described(handler.function.__doc__),
        "parameters": parameters,
        "requestBody": _body(types.arguments(handler.signature)),
        "responses": {**responses, "default": _problem("What went wrong")},
    }


def _submit(job: Job[..., Any], types: _Types) -> Schema:
    return {
        "operationId": f"submit.{job.declared.name}",
        "tags": ["jobs"],
        **_described(job.declared.function.__doc__),
        "parameters": [
            _KEY,
            _parameter("priority", "query", {"enum": list(PRIORITIES)}),
            _parameter("delay", "query", {"type": "number", "minimum": 0}),
            _parameter("at", "query", {"type": "string", "format": "date-time"}),
            _parameter("group", "query", _WORD),
        ],
        "requestBody": _body(types.arguments(job.declared.signature)),
        "responses": {"202": _json(_ref("schemas", "holdfast.Receipt")), "default": _problem("What went wrong")},
    }


def _described(text: str | None) -> Schema:
    lines = (text or "").strip().splitlines()
    return {"summary": lines[0].strip()} if lines else {}


def _body(schema: Schema) -> Schema:
    return {"required": bool(schema["required"]), "content": {"application/json": {"schema": schema}}}


def _json(schema: Schema, description: str = "Done") -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> Schema:
    schema = _ref("schemas", "holdfast.Problem")
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def _parameter(name: str, place: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _timeout(most_s: float) -> Schema:
    return _parameter("timeout", "query", {"type": "number", "exclusiveMinimum": 0, "maximum": most_s})


_TIMEOUT = _ref("parameters", "holdfast.Timeout")

_KEY = _parameter("Idempotency-Key", "header", _WORD)
_ID = _parameter("id", "path", _TEXT, required=True)
_PENDING = _json({"type": "object", "properties": {"id": _TEXT, "state": {"const": "pending"}}}, "Not yet")
_RESULT = _json({"type": "object", "properties": {"result": {}}})
_WENT_WRONG = _problem("What went wrong")

_FIXED_PATHS: dict[str, Schema] = {
    "/v1/messages/{id}": {
        "get": {
            "operationId": "message.result",
            "summary": "The outcome of a durable message",
            "parameters": [_ID, _TIMEOUT],
            "responses": {"200": _RESULT, "202": _PENDING, "default": _WENT_WRONG},
        }
    },
    "/v1/jobs/{id}": {
        "get": {
            "operationId": "job.status",
            "summary": "How a job is",
            "parameters": [_ID],
            "responses": {"200": _json(_ref("schemas", "holdfast.JobStatus")), "default": _WENT_WRONG},
        }
    },
    "/v1/jobs/{id}/result": {
        "get": {
            "operationId": "job.result",
            "summary": "What a job returned",
            "parameters": [_ID, _TIMEOUT],
            "responses": {"200": _RESULT, "202": _PENDING, "default": _WENT_WRONG},
        }
    },
    "/v1/jobs/{id}/cancel": {
        "post": {
            "operationId": "job.cancel",
            "summary": "Cancels a job",
            "parameters": [_ID],
            "responses": {
                "200": _json({"type": "object", "properties": {"outcome": _TEXT}}),
                "default": _WENT_WRONG,
            },
        }
    },
}

_MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}

_SCHEMAS: dict[str, Schema] = {
    "holdfast.Receipt": {
        "type": "object",
        "properties": {"id": _TEXT, "duplicate": {"type": ["boolean", "null"]}},
        "required": ["id", "duplicate"],
    },
    "holdfast.JobStatus": {
        "type": "object",
        "properties": {
            "id": _TEXT,
            "job_type": _TEXT,
            "priority": {"enum": list(PRIORITIES)},
            "state": {"enum": [str(state) for state in JobState]},
            "attempts": {"type": "integer"},
            "created_at": _MOMENT,
            "due_at": _MOMENT,
            "finished_at": _MOMENT,
            "error": _MAYBE_TEXT,
            "reason": _MAYBE_TEXT,
            "progress": {"type": ["number", "null"]},
            "progress_text": _MAYBE_TEXT,
            "replay_of": _MAYBE_TEXT,
        },
    },
    "holdfast.Problem": {
        "type": "object",
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "reason": _TEXT,
            "executed": {"enum": ["no", "yes", "unknown"]},
            "declared": {"type": "boolean"},
            "arguments": {"type": ["array", "null"]},
            "error_type": _TEXT,
            "incident": _TEXT,
        },
        "required": ["type", "title", "status", "detail", "reason", "executed"],
    },
}
