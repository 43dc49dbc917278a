"""One message of an entity class: its function, its codec and what its decorator was told."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any, Literal

from holdfast.errors import ConfigurationError
from holdfast.model.signature import Signature, by_position, resolve_hints, signature_of
from holdfast.model.storable import checked_word
from holdfast.model.told import told_count, told_name

OnRetry = Literal["wait", "step_aside"]
Executor = Literal["loop", "thread"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HandlerOptions:
    """What a decorator was told."""

    durable: bool = False
    readonly: bool = False
    stream: bool = False
    exclusive: bool = False
    dedupe: str | None = None
    errors: tuple[type[Exception], ...] = ()
    max_deliveries: int | None = None
    on_retry: OnRetry = "wait"
    executor: Executor = "loop"
    name: str | None = None


class Handler:
    """One message of one entity type: the function, its codec and its options. Made when the class is."""

    __slots__ = (
        "dedupe_position",
        "errors",
        "function",
        "is_async",
        "durable",
        "keeps_place",
        "max_deliveries",
        "name",
        "observe",
        "options",
        "passing",
        "shapes",
        "readonly",
        "signature",
        "writes",
    )

    def __init__(self, owner: type[Any], attribute: str, function: Callable[..., Any], options: HandlerOptions) -> None:
        label = f"{owner.__name__}.{attribute}"
        self.name = told_name(label, attribute if options.name is None else options.name)
        self.function = by_position(function)
        self.options = options
        self.readonly = options.readonly or (options.stream and not options.exclusive)
        self.writes = not self.readonly
        self.durable = options.durable
        self.keeps_place = options.on_retry == "wait"
        self.observe: Callable[[float], None] = _unobserved
        self.is_async = inspect.iscoroutinefunction(function)
        self.errors = _errors(label, options.errors)
        self.max_deliveries = told_count(f"{label}: max_deliveries", options.max_deliveries)
        self.signature = _signature(label, function, stream=options.stream)
        self.passing = self.signature.result.passing
        self.shapes = self.signature.shapes
        self.dedupe_position = _position_of(label, options.dedupe, self.signature)

    def dedupe_key(self, payload: bytes) -> str | None:
        """The idempotency key that `dedupe` finds in the arguments; None where it declares none, or that one is None.

        Raises MalformedMessage for what can be no key.
        """
        if self.dedupe_position is None:
            return None
        value = self.signature.decode(payload)[self.dedupe_position]
        return None if value is None else checked_word("a key", str(value))


def _unobserved(_seconds: float) -> None:
    """A handler outside a runner is not measured."""


def _errors(label: str, classes: tuple[type[Exception], ...]) -> dict[str, type[Exception]]:
    """By the names under which they travel."""
    named: dict[str, type[Exception]] = {}
    for error in classes:
        if not issubclass(error, Exception):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"{label}: errors are exception classes, not {error!r}")
        if named.setdefault(error.__name__, error) is not error:
            raise ConfigurationError(f"{label}: two of its errors have the name {error.__name__}, by which they travel")
    return named


def _signature(label: str, function: Callable[..., Any], *, stream: bool) -> Signature:
    if not stream:
        return signature_of(function, name=label, skip_first=True)
    if not inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{label}: a @stream is an async generator; it has no `yield`")
    element = (typing.get_args(resolve_hints(function, label).get("return")) or (Any,))[0]
    return signature_of(function, name=label, skip_first=True, result=element)


def _position_of(label: str, parameter: str | None, signature: Signature) -> int | None:
    if parameter is None:
        return None
    if parameter not in signature.parameters:
        raise ConfigurationError(f"{label}: dedupe names {parameter!r}, which is no parameter of it")
    return signature.parameters.index(parameter)
