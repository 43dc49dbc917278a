"""Frames are read the same however they were cut, and nothing that is read can do harm."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import MalformedMessage
from holdfast.model.address import Address
from holdfast.model.envelope import (
    Accepted,
    Call,
    Cancel,
    DeclaredError,
    Failure,
    Request,
    Result,
    StreamCredit,
    StreamEnd,
    StreamItem,
    StreamOpen,
    Timing,
)
from holdfast.transport.frames import (
    FRAME_BYTES_MAX,
    FRAME_ENVELOPES_MAX,
    Envelope,
    FrameDecoder,
    GoAway,
    Ping,
    Pong,
    encode,
)
from holdfast.transport.hello import HELLO_BYTES_MAX, Hello, Welcome

KINDS = (
    Call,
    Request,
    StreamOpen,
    StreamCredit,
    Cancel,
    Result,
    DeclaredError,
    Accepted,
    Failure,
    StreamItem,
    StreamEnd,
)
_number = st.integers(-(2**63), 2**63 - 1)
_text, _bytes = st.text(max_size=20), st.binary(max_size=50)
_fields: dict[str, st.SearchStrategy[object]] = {
    "payload": _bytes,
    "headers": st.none() | _bytes,
    "key": st.none() | _text,
    "duplicate": st.none() | st.booleans(),
    "executed": st.sampled_from(["no", "yes", "unknown"]),
    "timing": st.none() | st.builds(Timing, _number, _number, _number, st.none() | _text, _number),
    "chain": st.lists(st.builds(Address, _text, _text), max_size=3).map(tuple),
}
_texts = ("entity_type", "entity_id", "method", "service", "reason", "message", "error_type", "incident")


def envelopes_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[Envelope]:
    fields = kind.__struct_fields__
    return st.builds(kind, *(_text if name in _texts else _fields.get(name, _number) for name in fields))


envelopes = st.one_of([envelopes_of(kind) for kind in (*KINDS, Ping, Pong, GoAway)])


def decoder() -> FrameDecoder:
    made = FrameDecoder()
    made.establish()
    return made


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def read(data: bytes, cuts: list[int]) -> tuple[list[Envelope], bool]:
    reading, found, start = decoder(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += reading.feed(data[start:cut])
        start = cut
    return found, reading.broken is not None


@given(st.lists(st.lists(envelopes, max_size=5), max_size=5), st.data())
def test_envelopes_come_out_as_they_went_in_wherever_the_bytes_are_cut(
    batches: list[list[Envelope]], data: st.DataObject
) -> None:
    sent = b"".join(encode(batch)[0] for batch in batches)
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=10))
    assert read(sent, cuts) == ([envelope for batch in batches for envelope in batch], False)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_are_read_or_refused_and_the_same_however_cut(data: bytes, cuts: list[int]) -> None:
    whole = read(data, [])
    assert read(data, [min(cut, len(data)) for cut in cuts]) == whole


@given(
    st.recursive(
        st.none() | st.booleans() | _number | st.floats() | st.text(max_size=5) | st.binary(max_size=5), st.lists
    )
)
def test_any_message_pack_is_read_or_refused_by_name(body: object) -> None:
    reading = decoder()
    reading.feed(frame(msgspec.msgpack.encode(body)))
    assert reading.broken is None or isinstance(reading.broken, MalformedMessage)
    assert reading.held_bytes == 0


@given(st.lists(envelopes, min_size=1, max_size=4), st.data())
def test_a_flipped_byte_never_raises(batch: list[Envelope], data: st.DataObject) -> None:
    sent = bytearray(encode(batch)[0])
    sent[data.draw(st.integers(0, len(sent) - 1))] ^= data.draw(st.integers(1, 255))
    reading = decoder()
    reading.feed(bytes(sent))
    assert reading.broken is None or isinstance(reading.broken, MalformedMessage)
    assert reading.held_bytes <= len(sent)


def test_what_came_before_a_bad_frame_is_still_returned() -> None:
    reading = decoder()
    assert reading.feed(encode([Cancel(1)])[0] + frame(b"\xc1") + encode([Cancel(2)])[0]) == [Cancel(1)]
    assert reading.broken is not None
    assert reading.feed(encode([Cancel(3)])[0]) == []


@pytest.mark.parametrize("count", [b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff"])
def test_a_claimed_count_is_refused_unread(count: bytes) -> None:
    reading = decoder()
    reading.feed(frame(count))
    assert f"where {FRAME_ENVELOPES_MAX} are allowed" in str(reading.broken)


def test_a_claimed_length_is_refused_before_its_bytes_arrive() -> None:
    reading = decoder()
    reading.feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    assert f"where {FRAME_BYTES_MAX} are allowed" in str(reading.broken)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x91\x92\x14\xdd\xff\xff\xff\xff", id="list"),
        pytest.param(b"\x91\x93\x14\x01\xc6\xff\xff\xff\xff", id="bytes"),
        pytest.param(
            b"\x91\x9d\x0a\x01\xa1A\xa1A\xa1A\xc4\x00\x01\x01\x00\xc0\x00\xc0\xdd\xff\xff\xff\xff", id="chain"
        ),
        pytest.param(b"\x91\x93\x14\x01\xdb\xff\xff\xff\xff", id="text"),
    ],
)
def test_claimed_lengths_inside_a_frame_cost_no_memory(body: bytes) -> None:
    reading = decoder()
    tracemalloc.start()
    try:
        reading.feed(frame(body))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reading.broken is not None
    assert peak < 100_000


def test_deep_nesting_is_refused() -> None:
    reading = decoder()
    reading.feed(frame(b"\x91" * 100_000))
    assert reading.broken is not None


def test_before_the_handshake_only_a_small_frame_is_taken() -> None:
    reading = FrameDecoder()
    reading.feed((HELLO_BYTES_MAX + 1).to_bytes(4, "big"))
    assert reading.broken is not None


def test_what_follows_the_handshake_waits_until_it_is_over() -> None:
    reading = FrameDecoder()
    following = encode([Result(1, bytes(HELLO_BYTES_MAX))])[0]
    assert reading.feed(encode([Welcome(1, "shop")])[0] + following) == [Welcome(1, "shop")]
    reading.establish()
    assert reading.feed(b"") == [Result(1, bytes(HELLO_BYTES_MAX))]


def test_more_than_a_frame_holds_goes_into_several() -> None:
    batch = [Result(number, bytes(100)) for number in range(100)]
    sent, unsendable = encode(batch, bytes_max=1000)
    assert not unsendable
    assert read(sent, []) == (batch, False)
    assert int.from_bytes(sent[:4], "big") <= 1000


def test_an_envelope_that_cannot_be_sent_does_not_hold_up_the_others() -> None:
    large, unencodable = Result(2, bytes(2000)), GoAway("\ud800")
    sent, unsendable = encode([Result(1, b""), large, Result(3, b""), unencodable, Result(4, b"")], bytes_max=1000)
    assert read(sent, []) == ([Result(1, b""), Result(3, b""), Result(4, b"")], False)
    assert [refused.envelope for refused in unsendable] == [large, unencodable]
    assert "2007 bytes" in unsendable[0].why


def test_fields_that_are_missing_or_unknown_do_not_matter() -> None:
    """What lets two versions talk: fields are only ever added at the end."""
    short = frame(msgspec.msgpack.encode([[10, 7, "Cart", "cart-1", "add", b"", 5]]))
    assert read(short, []) == ([Call(7, "Cart", "cart-1", "add", b"", 5)], False)
    longer = frame(msgspec.msgpack.encode([[20, 7, b"", "of a later version"]]))
    assert read(longer, []) == ([Result(7, b"")], False)


def test_a_call_carries_everything() -> None:
    call = Call(
        7, "Cart", "cart-1", "add", b"\x90", 5_000_000, 99, 3, "o-1", 98,
        Timing(delay_us=60_000_000, every_us=1, name="tick", generation=2),
        (Address("Cart", "a"), Address("Stock", "b")), b"h",
    )  # fmt: skip
    (came,), broken = read(encode([call])[0], [])
    assert came == call and not broken
    assert isinstance(came, Call) and isinstance(came.chain[0], Address)


def test_hello_stays_readable_for_every_version() -> None:
    """Pinned bytes: the first frame is all that two versions must have in common."""
    assert encode([Hello(1, 1, "shop")])[0].hex() == "0000000d" + "9197010101a473686f7000a0a0"
