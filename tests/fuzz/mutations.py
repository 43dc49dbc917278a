"""Bytes that were right once."""

from __future__ import annotations

import random
from collections.abc import Sequence

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
from holdfast.transport.frames import Envelope, GoAway, Ping, Pong, encode

TELLING = (0x00, 0x01, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xC0, 0xC1, 0xC6, 0xC9, 0xCB, 0xCF, 0xD3, 0xDB, 0xDD, 0xDF, 0xFF)
"""Bytes that mean something to msgpack: the first of a long array, map, text or number, and the one that is none."""


def conversation(entity_type: str = "Cart") -> list[list[Envelope]]:
    """One of everything that crosses, in frames as they would."""
    at_once = Timing(delay_us=1, name="t")
    return [
        [Call(1, entity_type, "c-1", "note", b"\x91\x01", 5_000_000, 2**40, 1, "key", 0, at_once, (("Cart", "x"),))],  # type: ignore[arg-type]
        [Call(2, entity_type, "c-2", "numbers", b"\x90", 5_000_000), Ping(), Pong(), Cancel(2)],
        [Request(3, "jobs.status", b"\x91\xa11", 5_000_000, b"headers")],
        [StreamOpen(4, "Feed", "f", "lines", b"\x91\x05", 4), StreamCredit(4, 2), StreamCredit(9, 10**9)],
        [Result(5, b"\x01"), DeclaredError(6, b"\x01"), Accepted(7, 1, None), StreamItem(8, b""), StreamEnd(8)],
        [Failure(9, "MailboxFull", "full", "no"), GoAway("enough")],
    ]


def recorded(frames: Sequence[Sequence[Envelope]]) -> bytes:
    return b"".join(encode(envelopes)[0] for envelopes in frames)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to eight changes: flipped, replaced, doubled, moved, cut off, made longer."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(changed) + 1)
        upto = min(len(changed), at + rng.randint(1, 16))
        match rng.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.choice(TELLING)
            case 2:
                changed[at:at] = changed[at:upto]
            case 3:
                del changed[at:upto]
            case 4:
                changed[at:at] = bytes(rng.choice(TELLING) for _ in range(rng.randint(1, 9)))
            case _:
                changed[at:upto] = rng.randbytes(upto - at)
    return bytes(changed)


def split(data: bytes, rng: random.Random) -> list[bytes]:
    """The same bytes, as they might arrive."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(0, 6)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
