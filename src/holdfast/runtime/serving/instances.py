"""A message to every live instance of a type on this runner: one call to each, errors as values."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from holdfast.entities.door import DEFAULTS, Door
from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.entities.turns import Activation
from holdfast.model.address import Address


class LiveInstances:
    """The live entities of this runner."""

    def __init__(self, door: Door, live: Mapping[Address, Activation]) -> None:
        self._door = door
        self._live = live

    async def tell(
        self, declared: EntityType, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Any]:
        addresses = [address for address in self._live if address.entity_type == declared.name]
        calls = (self._door.call(address, handler, args, kwargs, DEFAULTS) for address in addresses)
        return await asyncio.gather(*calls, return_exceptions=True)
