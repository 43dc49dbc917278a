"""What this process sends durably to entities of its own runner: the message as it is stored."""

from __future__ import annotations

from typing import Any

from holdfast.kit.hashing import payload_hash
from holdfast.model.address import Address
from holdfast.model.ids import micros
from holdfast.model.message import MessageRow

from .door import DEFAULTS, SendOptions
from .handler import Handler
from .manager import EntityManager
from .surroundings import Surroundings


class Outgoing:
    """Makes rows of sends."""

    def __init__(self, around: Surroundings, *, manager: EntityManager) -> None:
        self._live = manager.live
        self._shard_of = manager.shard_of
        self._ids = around.ids
        self._clock = around.clock
        self._incarnation = around.runner_id
        self._payload_bytes_max = around.settings.payload_bytes_max

    async def row(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> MessageRow:
        """The message under an id of its own. Raises MalformedMessage for arguments that are wrong or too large."""
        payload = handler.signature.encode(args, kwargs)
        handler.signature.check_size(payload, self._payload_bytes_max)
        now = self._clock.now_us()
        message_id = self._ids.take_now() or await self._ids.take()
        activation = self._live.get(address)
        key = handler.dedupe_key(payload) if options.key is None else options.key
        return MessageRow(
            message_id,
            self._shard_of(address) if activation is None else activation.shard,
            address.entity_type,
            address.entity_id,
            handler.name,
            payload,
            b"" if key is None else payload_hash(payload),
            key,
            None,  # headers
            0 if options is DEFAULTS else _due_at(options, now),
            options.name,
            micros(options.every) if options.every else 0,
            message_id,  # generation
            0,  # deliveries
            0,  # crashes
            None,  # last_error
            now,
            self._incarnation,
        )


def _due_at(options: SendOptions, now: int) -> int:
    if options.at is not None:
        return max(1, micros(options.at.timestamp()))
    if options.delay:
        return now + micros(options.delay)
    return now + micros(options.every) if options.every else 0
