"""The frame decoder and whatever bytes come: it never raises, and holds no more than has come."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.transport.frames import FRAME_BYTES_MAX, Envelope, FrameDecoder
from holdfast.transport.hello import HELLO_BYTES_MAX

from .effort import TIMES, seeded
from .mutations import conversation, mutated, recorded, split

RECORDED = recorded(conversation())
CALL = b"\x0a\x01\xa1C\xa1c\xa1m\xc4\x00\x01\x00\x00\xc0\x00\xc0"
BOMBS = {
    "arrays in a field that nobody knows": b"\x91\x92\x04" + b"\x91" * 500_000 + b"\xc0",
    "maps in a field that nobody knows": b"\x91\x92\x04" + b"\x81\xa0" * 300_000 + b"\xc0",
    "arrays in the place of an envelope": b"\x91" * 1_000_000,
    "a long array that is only claimed": b"\xdd\x00\x00\x00\x01\xdd\xff\xff\xff\xff",
    "a long map that is only claimed": b"\x91\xdf\xff\xff\xff\xff",
    "a long text that is only claimed": b"\x91\x92\x06\xdb\xff\xff\xff\xff",
    "long bytes that are only claimed": b"\x91\x95\x0b\x01\xa0\xc6\xff\xff\xff\xff",
    "a chain of many": b"\x91\x9d" + CALL + b"\xdd\x00\x01\x00\x00" + bytes(65536),
}  # fmt: skip


def fed(pieces: list[bytes], *, established: bool) -> tuple[list[Envelope], FrameDecoder]:
    decoder = FrameDecoder()
    if established:
        decoder.establish()
    found: list[Envelope] = []
    for piece in pieces:
        found += decoder.feed(piece)
        assert decoder.held_bytes <= 4 + (FRAME_BYTES_MAX if established else HELLO_BYTES_MAX) + len(piece)
    return found, decoder


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@settings(max_examples=150 * TIMES, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8), st.booleans())
def test_any_bytes_are_envelopes_or_break_the_line(pieces: list[bytes], established: bool) -> None:
    _, decoder = fed(pieces, established=established)
    assert decoder.held_bytes <= sum(map(len, pieces))


@settings(max_examples=150 * TIMES, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=8))
def test_any_body_of_a_frame_is_read_or_breaks_the_line(bodies: list[bytes]) -> None:
    """Where the lengths are right, so that the bytes reach what is behind them."""
    fed([framed(body) for body in bodies], established=True)


def test_a_conversation_gone_wrong_is_the_same_however_it_arrives() -> None:
    rng = seeded("decoder")
    for _ in range(1500 * TIMES):
        data = mutated(RECORDED, rng)
        whole, one = fed([data], established=True)
        pieces, other = fed(split(data, rng), established=True)
        assert whole == pieces
        assert (one.broken is None) == (other.broken is None)


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_what_claims_more_than_it_is_costs_no_more_than_it_is(body: bytes) -> None:
    tracemalloc.start()
    try:
        found, decoder = fed([framed(body)], established=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [] and decoder.broken is not None
    assert len(str(decoder.broken)) < 500
    assert peak < 4 * len(body) + 100_000


def test_a_length_that_is_only_claimed_costs_nothing() -> None:
    for established in (False, True):
        _, decoder = fed([b"\xff\xff\xff\xff"], established=established)
        assert decoder.broken is not None
    _, decoder = fed([(FRAME_BYTES_MAX).to_bytes(4, "big")], established=True)
    assert decoder.broken is None and decoder.held_bytes == 4
