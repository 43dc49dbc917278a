"""Errors across processes: by the name of their class, with nothing internal.

What crosses is the class name, the message, whether the work may have run and, for a handler's undeclared error, its
type and incident number. An error that is not Holdfast's own says nothing about itself: its details stay in the log
of its process. Declared errors of handlers are results and travel by the method's codec, not here.
"""

from __future__ import annotations

import inspect

from holdfast import errors
from holdfast.errors import HandlerFailed, HoldfastError, MessageError
from holdfast.model.envelope import Failure

KNOWN: dict[str, type[HoldfastError]] = {
    name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HoldfastError)
}

MESSAGE_CHARS_MAX = 4000


class UnknownError(MessageError):
    """An error that a newer version of Holdfast knows by the name `reason`, and this one does not."""

    def __init__(self, reason: str, message: str, *, executed: errors.Executed) -> None:
        super().__init__(message, executed=executed)
        self._reason = reason

    @property
    def reason(self) -> str:
        return self._reason


def failure_of(error: BaseException, *, correlation: int = 0) -> Failure:
    """What the other process may know of this error."""
    if isinstance(error, UnknownError):
        return Failure(correlation, error.reason, _text(error), error.executed)
    if not isinstance(error, HoldfastError):
        return Failure(correlation, "HandlerFailed", "an internal error; see the log of the runner", "unknown")
    reason = next(kind.__name__ for kind in type(error).__mro__ if KNOWN.get(kind.__name__) is kind)
    executed = error.executed if isinstance(error, MessageError) else "no"
    if isinstance(error, HandlerFailed):
        return Failure(correlation, reason, _text(error), executed, error.error_type, error.incident)
    return Failure(correlation, reason, _text(error), executed)


def error_of(failure: Failure) -> HoldfastError:
    """The error to raise where the failure has arrived."""
    kind = KNOWN.get(failure.reason)
    if kind is None:
        return UnknownError(failure.reason, failure.message, executed=failure.executed)
    if issubclass(kind, HandlerFailed):
        handler_failed = kind(failure.message, error_type=failure.error_type, incident=failure.incident)
        handler_failed.executed = failure.executed
        return handler_failed
    if issubclass(kind, MessageError):
        return kind(failure.message, executed=failure.executed)
    return kind(failure.message)


def _text(error: HoldfastError) -> str:
    """The message as it can be sent: bounded, and valid Unicode whatever a handler put into it."""
    return str(error)[:MESSAGE_CHARS_MAX].encode(errors="backslashreplace").decode()
