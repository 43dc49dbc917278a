"""Declared errors: results of a handler that its caller gets as the class it knows, with its arguments.

They cross like every result, encoded: nobody shares a mutable argument, and a caller in the handler's own process gets
what a caller elsewhere would. An error derived from a declared one arrives as the declared one. One whose arguments
can't travel, or whose class can't be made from them, arrives as HandlerFailed that says what it was; it is an outcome
all the same.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import HandlerFailed

from .handler import Handler


class DeclaredError(msgspec.Struct, frozen=True, array_like=True):
    """The class by name, and the arguments; None where they can't be had."""

    name: str
    args: list[Any] | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DeclaredError).decode


def rebuilt(handler: Handler, error: Exception) -> Exception:
    """The error as the caller gets it."""
    name = next(kind.__name__ for kind in type(error).__mro__ if handler.errors.get(kind.__name__) is kind)
    try:
        return decode_declared(handler, _encode(DeclaredError(name, list(error.args))))
    except (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError):
        return _lost(handler, name)


def encode_declared(error: BaseException) -> bytes:
    """What `rebuilt` made, as it is stored and sent."""
    if isinstance(error, HandlerFailed):
        return _encode(DeclaredError(error.error_type, None))
    return _encode(DeclaredError(type(error).__name__, list(error.args)))


def decode_declared(handler: Handler, outcome: bytes) -> Exception:
    """The error again, as its declared class; HandlerFailed where that can't be."""
    stored = _decode(outcome)
    kind = handler.errors.get(stored.name)
    if kind is None or stored.args is None:
        return _lost(handler, stored.name)
    try:
        return kind(*stored.args)
    except Exception:  # whatever a user's class makes of arguments it was not made with
        return _lost(handler, stored.name)


def _lost(handler: Handler, name: str) -> HandlerFailed:
    return HandlerFailed(f"{handler.signature.name} raised {name}, which can't be rebuilt here", error_type=name)
