"""Hashes are written into stores, so what they return is pinned."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kit.hashing import payload_hash, shard_of


@pytest.mark.parametrize(
    ("entity_type", "entity_id", "shards", "expected"),
    [("Cart", "cart-42", 256, 204), ("Cart", "cart-42", 1, 0), ("Straße", "日本", 300, 285), ("a", "", 7, 3)],
)
def test_shards_never_move(entity_type: str, entity_id: str, shards: int, expected: int) -> None:
    """An entity stays in its shard across versions and machines."""
    assert shard_of(entity_type, entity_id, shards) == expected


@given(st.text(), st.text(), st.integers(1, 4096))
def test_every_address_has_a_shard(entity_type: str, entity_id: str, shards: int) -> None:
    """The number is one of the group's."""
    assert 0 <= shard_of(entity_type, entity_id, shards) < shards


def test_type_and_id_do_not_run_together() -> None:
    """`ab` + `c` and `a` + `bc` are different addresses."""
    assert shard_of("ab", "c", 1 << 30) != shard_of("a", "bc", 1 << 30)


def test_no_shards_is_a_bug() -> None:
    """A group without shards is caught where it is used."""
    with pytest.raises(AssertionError):
        shard_of("Cart", "1", 0)


def test_payload_hashes_never_change() -> None:
    """A stored hash is recognised by every later version."""
    assert payload_hash(b"").hex() == "cae66941d9efbd404e4d88758ea67670"
    assert payload_hash(b"{}") == payload_hash(b"{}")
    assert payload_hash(b"[1]") != payload_hash(b"[2]")


@pytest.mark.parametrize(("entity_type", "entity_id"), [("Cart", "cart-1"), ("Köln", "ü"), ("T", ""), ("a", "b\x00c")])
def test_a_shard_is_the_hash_of_type_and_id_with_a_nul_between(entity_type: str, entity_id: str) -> None:
    named = f"{entity_type}\0{entity_id}".encode()
    for shards in (1, 7, 64, 16_384):
        assert shard_of(entity_type, entity_id, shards) == crc32(named) % shards
