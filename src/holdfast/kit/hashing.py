"""Hashes that end up in stores: what they return may never change.

Two processes of different versions must agree on where an entity lives and on whether two payloads are the same, so
nothing here depends on the process (`PYTHONHASHSEED`), the platform or the Python version.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

PAYLOAD_HASH_BYTES = 16


def shard_of(entity_type: str, entity_id: str, shards: int) -> int:
    """The shard number, from 0 to `shards - 1`, of the entity with this address."""
    assert shards > 0, "a shard group has at least one shard"
    return crc32(entity_id.encode(), _begun(entity_type)) % shards


@lru_cache(maxsize=256)
def _begun(entity_type: str) -> int:
    """The hash of `type NUL id` after the type: the same for every call, so it is kept."""
    return crc32(b"%b\x00" % entity_type.encode())


def payload_hash(payload: bytes) -> bytes:
    """16 bytes that tell whether a repeated idempotency key came with the same payload."""
    return blake2b(payload, digest_size=PAYLOAD_HASH_BYTES).digest()
