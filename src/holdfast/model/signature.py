"""The codec of one handler, made from its signature.

Arguments travel as one msgpack array in the order of the parameters. Every call crosses the codec, local ones
too, so that nobody shares a mutable value and a wrong type is refused wherever the caller sits. Exact immutable
scalars of the declared type pass as they are: encoding would give them back unchanged.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

import msgspec

from holdfast.errors import ConfigurationError, MalformedMessage, SerializationError

SCALARS: frozenset[type] = frozenset({int, float, str, bytes, bool, type(None)})
_MISSING: Any = inspect.Parameter.empty
_FRAMES_SEARCHED = 12
_SHAPES_MAX = 64


def encode_foreign(value: Any) -> Any:
    """The encoders' hook for pydantic models. Raises NotImplementedError for anything else."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"{type(value).__name__} can't be encoded")
    return dump(mode="json")


def decode_foreign(kind: type, value: Any) -> Any:
    """The decoders' hook for pydantic models."""
    return kind.model_validate(value)  # type: ignore[attr-defined]


_encoder = msgspec.msgpack.Encoder(enc_hook=encode_foreign)


class ValueCodec:
    """Encodes and decodes values of one declared type.

    Raises ConfigurationError at construction for a type that can't be encoded, naming `where`.
    """

    __slots__ = ("_decoder", "hint", "passing", "where")

    def __init__(self, hint: Any, where: str) -> None:
        self.where = where
        self.hint = hint
        self.passing = _passing_types(hint)
        _check_encodable(hint, where)
        self._decoder = msgspec.msgpack.Decoder(hint, dec_hook=decode_foreign)

    def encode(self, value: Any) -> bytes:
        """Raises SerializationError."""
        try:
            return _encoder.encode(value)
        except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError) as error:
            raise SerializationError(f"{self.where}: {error}") from error

    def decode(self, data: bytes) -> Any:
        """Raises SerializationError."""
        try:
            return self._decoder.decode(data)
        except (ValueError, TypeError, RecursionError) as error:
            raise SerializationError(f"{self.where}: {error}") from error

    def cross(self, value: Any) -> Any:
        """A value as its receiver gets it: never the same mutable object. Raises SerializationError."""
        if type(value) in self.passing:
            return value
        return self.decode(self.encode(value))


class Signature:
    """Codec of a handler's arguments and result."""

    __slots__ = ("_arguments", "_defaults", "_names", "_passing", "_positional", "hints", "name", "result", "shapes")

    def __init__(self, name: str, parameters: Mapping[str, tuple[Any, Any]], positional: int, result: Any) -> None:
        """`parameters`: name -> (type, default or `inspect.Parameter.empty`); `result`: the declared return type."""
        self.name = name
        self._names = tuple(parameters)
        self._positional = positional
        self._defaults = tuple(default for _, default in parameters.values())
        self._passing = tuple(_passing_types(hint) for hint, _ in parameters.values())
        self.shapes: set[tuple[type, ...]] = set()
        self.hints = {parameter: hint for parameter, (hint, _) in parameters.items()}
        for parameter, hint in self.hints.items():
            _check_encodable(hint, f"{name}({parameter}=...)")
        hints = tuple(self.hints.values())
        self._arguments = msgspec.msgpack.Decoder(tuple[hints] if hints else tuple[()], dec_hook=decode_foreign)  # type: ignore[valid-type]
        self.result = ValueCodec(result, f"{name}() -> result")

    @property
    def parameters(self) -> tuple[str, ...]:
        return self._names

    @property
    def defaults(self) -> dict[str, Any]:
        """What parameters are if they are not given, for those that need not be."""
        return {name: value for name, value in zip(self._names, self._defaults, strict=True) if value is not _MISSING}

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """All arguments in order, defaults filled in. Raises MalformedMessage."""
        if not kwargs and len(args) == len(self._names) == self._positional:
            return args
        return self._bind_slow(args, dict(kwargs))

    def _bind_slow(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        if len(args) > self._positional:
            raise MalformedMessage(f"{self.name}() takes {self._positional} positional arguments, not {len(args)}")
        for given in self._names[: len(args)]:
            if given in kwargs:
                raise MalformedMessage(f"{self.name}() got {given!r} twice")
        values = list(args)
        for name, default in zip(self._names[len(args) :], self._defaults[len(args) :], strict=True):
            value = kwargs.pop(name, default)
            if value is _MISSING:
                raise MalformedMessage(f"{self.name}() needs {name!r}")
            values.append(value)
        if kwargs:
            known = ", ".join(self._names) or "none"
            raise MalformedMessage(f"{self.name}() has no parameter {next(iter(kwargs))!r}; it takes: {known}")
        return tuple(values)

    def cross(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], bytes_max: int) -> tuple[Any, ...]:
        """Arguments as the handler gets them in the same process. Raises MalformedMessage for wrong or large ones.

        Scalars alone, which pass as they are, have no size here.
        """
        if not kwargs and tuple(map(type, args)) in self.shapes:
            return args
        values = self.bind(args, kwargs)
        if self._passes(values):
            return values
        payload = self._encode(values)
        self.check_size(payload, bytes_max)
        return self.decode(payload)

    def check_size(self, payload: bytes, bytes_max: int) -> None:
        """Raises MalformedMessage for encoded arguments that take more."""
        if len(payload) > bytes_max:
            raise MalformedMessage(
                f"the arguments of {self.name} take {len(payload)} bytes, more than the "
                f"{bytes_max} of entities.payload_bytes_max"
            )

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Arguments as they travel and are stored. Raises MalformedMessage for a wrong one."""
        if not kwargs and tuple(map(type, args)) in self.shapes:
            return self._encode(args)
        values = self.bind(args, kwargs)
        payload = self._encode(values)
        if not self._passes(values):
            self.decode(payload)
        return payload

    def _passes(self, values: tuple[Any, ...]) -> bool:
        """Whether every value is an immutable scalar of its declared type; remembers shapes it has seen pass."""
        shape = tuple(map(type, values))
        if shape in self.shapes:
            return True
        if not all(kind in passing for kind, passing in zip(shape, self._passing, strict=True)):
            return False
        if len(shape) <= self._positional and len(self.shapes) < _SHAPES_MAX:
            self.shapes.add(shape)
        return True

    def _encode(self, values: tuple[Any, ...]) -> bytes:
        try:
            return _encoder.encode(values)
        except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError) as error:
            raise MalformedMessage(f"{self.name}(): an argument can't be encoded: {error}") from error

    def decode(self, payload: bytes) -> tuple[Any, ...]:
        """The arguments in order; a caller that knows fewer trailing parameters gets their defaults.

        Raises MalformedMessage.
        """
        try:
            return self._arguments.decode(payload)
        except (ValueError, TypeError, RecursionError) as error:
            return self._decode_shorter(payload, error)

    def _decode_shorter(self, payload: bytes, error: Exception) -> tuple[Any, ...]:
        try:
            raw = msgspec.msgpack.decode(payload, type=list[Any])
        except (ValueError, RecursionError):
            raise MalformedMessage(f"{self.name}(): {self._explain(error)}") from error
        if len(raw) >= len(self._names):
            raise MalformedMessage(f"{self.name}(): {self._explain(error)}") from error
        filled = self._bind_slow((), dict(zip(self._names, raw, strict=False)))
        try:
            return self._arguments.decode(_encoder.encode(filled))
        except (ValueError, TypeError, RecursionError) as again:
            raise MalformedMessage(f"{self.name}(): {self._explain(again)}") from again

    def _explain(self, error: Exception) -> str:
        """msgspec names an argument by its position (`$[0]`); a caller knows it by its name."""
        text = str(error)
        for position, name in enumerate(self._names):
            text = text.replace(f"`$[{position}]", f"`{name}").replace(f"$[{position}]", name)
        return text


def signature_of(function: Callable[..., Any], *, name: str, skip_first: bool, result: Any = None) -> Signature:
    """The codec of a handler.

    `result` replaces the declared return type (a stream's element type). Raises ConfigurationError for variadic
    parameters, unresolvable annotations and types that can't be encoded, naming the parameter.
    """
    hints = resolve_hints(function, name)
    given = list(inspect.signature(function).parameters.values())[1 if skip_first else 0 :]
    parameters: dict[str, tuple[Any, Any]] = {}
    positional = 0
    for parameter in given:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(f"{name}: the variadic parameter {parameter.name!r} has no fixed type; use a list")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            positional += 1
        parameters[parameter.name] = (hints.get(parameter.name, Any), parameter.default)
    return Signature(name, parameters, positional, hints.get("return", Any) if result is None else result)


def by_position(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as it can be called with decoded arguments: by position, those that it takes by name alone too."""
    parameters = inspect.signature(function).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    if not named:
        return function

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        first_named = len(arguments) - len(named)
        return function(*arguments[:first_named], **dict(zip(named, arguments[first_named:], strict=True)))

    return call


def resolve_hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """Type hints of a function; names local to the functions around its definition are found too.

    Raises ConfigurationError for a name that can't be resolved.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError:
        pass
    try:
        return typing.get_type_hints(function, localns=_surrounding_locals(), include_extras=True)
    except NameError as error:
        raise ConfigurationError(f"{name}: the annotation's name {error.name!r} is not defined yet here") from error


def _surrounding_locals() -> dict[str, Any]:
    found: dict[str, Any] = {}
    frame = inspect.currentframe()
    for _ in range(_FRAMES_SEARCHED):
        if frame is None:
            break
        found = {**frame.f_locals, **found}
        frame = frame.f_back
    return found


def _passing_types(hint: Any) -> frozenset[type]:
    if hint is Any or hint is inspect.Parameter.empty:
        return SCALARS
    if hint is None:
        return frozenset({type(None)})
    if isinstance(hint, type) and hint in SCALARS:
        return frozenset({hint})
    if get_origin(hint) in (typing.Union, types.UnionType):
        none: frozenset[type] = frozenset()
        return none.union(*(_passing_types(part) for part in get_args(hint)))
    return frozenset()


def _check_encodable(hint: Any, where: str) -> None:
    try:
        info = msgspec.inspect.type_info(hint)
    except (TypeError, NameError) as error:
        raise ConfigurationError(f"{where}: {error}") from error
    foreign = _first_foreign(info, set())
    if foreign is not None:
        raise ConfigurationError(
            f"{where}: {foreign.__name__} can't be encoded; use a dataclass, msgspec.Struct, attrs class, "
            "TypedDict, pydantic model or a plain type"
        )


def _first_foreign(info: Any, seen: set[int]) -> type | None:
    """The first class below this type that neither msgspec nor pydantic can encode."""
    if id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        return None if hasattr(info.cls, "model_validate") else info.cls
    for part in _parts(info):
        foreign = _first_foreign(part, seen)
        if foreign is not None:
            return foreign
    return None


def _parts(info: Any) -> list[Any]:
    parts: list[Any] = []
    for field in getattr(info, "__struct_fields__", ()):
        value: Any = getattr(info, field)
        for candidate in value if isinstance(value, tuple) else (value,):  # pyright: ignore[reportUnknownVariableType]
            if isinstance(candidate, msgspec.inspect.Field):
                parts.append(candidate.type)
            elif isinstance(candidate, msgspec.inspect.Type):
                parts.append(candidate)
    return parts
