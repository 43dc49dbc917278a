"""Errors as problem documents (RFC 9457): what went wrong, whether it helps to try again, and whether it ran.

    {"type": "urn:holdfast:error:MailboxFull", "title": "...", "status": 429, "detail": "...",
     "reason": "MailboxFull", "executed": "no"}

`reason` is the name under which the metrics count the error, `executed` is "no", "yes" or "unknown". An error that the
handler declares is a result: status 422, with `declared` true and its arguments in `arguments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from holdfast import errors
from holdfast.errors import Executed, HoldfastError
from holdfast.model.signature import encode_foreign

PROBLEM = "application/problem+json"

STATUS: dict[type[HoldfastError], int] = {
    errors.MalformedMessage: 400,
    errors.UsageError: 400,
    errors.JobInvalid: 400,
    errors.MessageNotFound: 404,
    errors.JobNotFound: 404,
    errors.HandlerMissing: 404,
    errors.AlreadyProcessingMessage: 409,
    errors.AlreadyCancelled: 409,
    errors.JobCancelled: 409,
    errors.KeyConflict: 422,
    errors.JobKeyConflict: 422,
    errors.MailboxFull: 429,
    errors.RpcClientError: 502,
    errors.NotStarted: 503,
    errors.EntityNotAssignedToRunner: 503,
    errors.PersistenceError: 503,
    errors.RunnerNotRegistered: 503,
    errors.RunnerUnavailable: 503,
    errors.Suspended: 503,
    errors.SendTimeout: 504,
}
"""By the nearest class; 500 for the others: the handler failed, or what it returned could not be written."""

AGAIN = frozenset({429, 503})
AGAIN_S = "1"

_RAN: frozenset[type[HoldfastError]] = frozenset({errors.JobDead, errors.JobFailed, errors.JobTimeout})

encode_json = msgspec.json.Encoder(enc_hook=encode_foreign).encode


class Refused(Exception):
    """The gateway itself says no, before anything has happened."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class Declared(Exception):
    """Carries an error that the handler declares, out of the places where any other error would be ours."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Raises SerializationError for what JSON can't hold."""
    try:
        body = encode_json(value)
    except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError) as error:
        raise errors.SerializationError(f"the result can't be written as JSON: {error}", executed="yes") from error
    return Response(body, status, headers, media_type="application/json")


def problem(error: Exception) -> Response:
    """The document for an error; one that is not ours says nothing of itself."""
    match error:
        case Refused():
            phrase = _phrase(error.status)
            return _document(error.status, phrase, error.detail, _words(phrase), "no", error.headers)
        case Declared():
            return _declared(error.error)
        case HoldfastError():
            more = {}
            if isinstance(error, errors.HandlerFailed):
                more = {"error_type": error.error_type, "incident": error.incident}
            status, executed = _status(error), _executed(error)
            headers = {"retry-after": AGAIN_S} if status in AGAIN else None
            return _document(status, _title(type(error)), str(error), error.reason, executed, headers, more)
        case _:
            return _document(500, "Internal error", "the log says more", "Internal", "unknown")


def _declared(error: Exception) -> Response:
    more: dict[str, Any] = {"declared": True, "arguments": list(error.args)}
    try:
        encode_json(more)
    except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError):
        more["arguments"] = None
    name = type(error).__name__
    return _document(422, name, str(error), name, "yes", more=more)


def _document(
    status: int,
    title: str,
    detail: str,
    reason: str,
    executed: Executed,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    document = {
        "type": f"urn:holdfast:error:{reason}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "reason": reason,
        "executed": executed,
        **(more or {}),
    }
    return Response(encode_json(document), int(status), headers, media_type=PROBLEM)


def _status(error: HoldfastError) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def _executed(error: HoldfastError) -> Executed:
    if isinstance(error, errors.MessageError):
        return error.executed
    if isinstance(error, errors.JobCancelled):
        return "unknown"
    return "yes" if type(error) in _RAN else "no"


def _title(kind: type[Exception]) -> str:
    """The first sentence of the class's docstring."""
    return (kind.__doc__ or kind.__name__).split("\n")[0].partition(". ")[0].rstrip(".")


def _phrase(status: HTTPStatus) -> str:
    """As RFC 9110 has it: which of its names the standard library knows depends on the version."""
    return "Content Too Large" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else status.phrase


def _words(phrase: str) -> str:
    """`Content Too Large` as a name."""
    return "".join(word.title() for word in phrase.replace("-", " ").split())
