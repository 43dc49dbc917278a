"""Brings an instance to life: its state from the store, or its first one, then its own `on_activate`."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from holdfast.errors import HandlerFailed, HoldfastError, Suspended
from holdfast.ports.reads import MessageReader

from .entity import Entity
from .turns import Activation

logger = logging.getLogger("holdfast.entities")


async def loaded(activation: Activation, reader: MessageReader, *, within_s: float) -> Entity[Any]:
    """The instance, as its first message finds it; `activation` knows its version and its encoded state then.

    Raises Suspended for a state that a newer version has written, TimeoutError where `on_activate` takes too long,
    and whatever that raises.
    """
    entity_type = activation.hosted.type
    instance: Entity[Any] = entity_type.cls.__new__(entity_type.cls)
    object.__setattr__(instance, "_host", activation)
    if entity_type.state_codec is not None and entity_type.initial is not None:
        stored = await reader.state(activation.address)
        if stored is None:
            instance.state = entity_type.initial(instance)
        elif stored.schema > entity_type.schema:
            raise Suspended(f"the state of {activation.address} has schema {stored.schema}, newer than this version")
        else:
            instance.state = entity_type.state_codec.decode(stored.state)
            activation.version = stored.version
    instance.__init__()  # type: ignore[misc]
    async with asyncio.timeout(within_s):
        await instance.on_activate()
    if entity_type.state_codec is not None:
        # What the first message finds is what a failed one goes back to; it is saved with the next change.
        activation.encoded = entity_type.state_codec.encode(instance.state)
    return instance


def load_failure(activation: Activation, error: Exception) -> HoldfastError:
    """Why the messages that wait for this instance fail."""
    if isinstance(error, HoldfastError):
        return error
    logger.error("%s could not be activated", activation.address, exc_info=error)
    kind = type(error).__name__
    failure = HandlerFailed(f"{activation.address} could not be activated: {kind}", error_type=kind)
    failure.__cause__ = error
    return failure
