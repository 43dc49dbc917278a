"""All that the engine knows of an entity class once it is registered with an App or a Module."""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Callable
from typing import Any

from holdfast.errors import ConfigurationError
from holdfast.model.placement import DEFAULT_GROUP
from holdfast.model.signature import ValueCodec
from holdfast.model.told import told_count, told_name, told_seconds

from .definition import Declared
from .entity import Entity
from .handler import Handler


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EntityOptions:
    """What `app.entity(...)` was told; None leaves the choice to the settings."""

    name: str | None = None
    mailbox: int | None = None
    idle_after: float | None = None
    keep_alive: bool = False
    schema: int = 1
    shard_group: str = DEFAULT_GROUP


class EntityType:
    """All that the engine knows of a declared type."""

    __slots__ = (
        "cls",
        "handlers",
        "idle_after",
        "initial",
        "keep_alive",
        "mailbox",
        "name",
        "schema",
        "shard_group",
        "state_codec",
    )

    def __init__(self, cls: type[Entity[Any]], options: EntityOptions) -> None:
        self.cls = cls
        label = f"entity {cls.__name__}"
        self.name = told_name(label, cls.__name__ if options.name is None else options.name)
        self.mailbox = told_count(f"{label}: mailbox", options.mailbox)
        self.idle_after = told_seconds(f"{label}: idle_after", options.idle_after)
        self.keep_alive = options.keep_alive
        self.schema = told_count(f"{label}: schema", options.schema)
        self.shard_group = told_name(f"{label}: its shard group", options.shard_group)
        self.handlers: dict[str, Handler] = {}
        for handler in _handlers_of(cls):
            if handler.name in self.handlers:
                raise ConfigurationError(f"{label}: two of its messages have the name {handler.name!r}")
            self.handlers[handler.name] = copy.copy(handler)
        state_type = _state_type(cls)
        self.state_codec = None if state_type is None else ValueCodec(state_type, f"{cls.__name__}.state")
        self.initial = _initial(cls, state_type)


def _handlers_of(cls: type[Any]) -> list[Handler]:
    """Most derived first by name; an attribute that overrides a message without declaring one hides it."""
    found: dict[str, Handler | None] = {}
    for base in cls.__mro__:
        for attribute, value in vars(base).items():
            if attribute in found:
                continue
            found[attribute] = value.handler if isinstance(value, Declared) else None
    return [handler for handler in found.values() if handler is not None]


def _state_type(cls: type[Any]) -> Any:
    """The S of `Entity[S]` in the bases of the class; None where the entity keeps no state."""
    for base in cls.__mro__:
        for parent in getattr(base, "__orig_bases__", ()):
            if typing.get_origin(parent) is Entity:
                (state,) = typing.get_args(parent)
                return None if state in (None, type(None)) else state
    raise ConfigurationError(f"{cls.__name__}: an entity class derives from Entity[State] or Entity[None]")


def _initial(cls: type[Entity[Any]], state_type: Any) -> Callable[[Any], Any] | None:
    if state_type is None:
        return None
    if "initial" in {name for base in cls.__mro__ if base is not Entity for name in vars(base)}:
        return cls.initial
    maker = typing.get_origin(state_type) or state_type
    if not callable(maker):
        raise ConfigurationError(f"{cls.__name__}: define initial() -> {state_type}")
    return lambda _entity: maker()
