"""What a runner and its child processes say to each other: length-prefixed frames over the child's pipes.

Arguments and results travel as the bytes that the store keeps, so a child needs no other codec than the job's own.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec

HEAD = struct.Struct(">I")


class Order(msgspec.Struct, frozen=True, array_like=True, tag="order"):
    """Run this attempt. `main` says what `module` "__main__" is: a module's name, or a file."""

    job: int
    number: int
    job_type: str
    module: str
    qualname: str
    payload: bytes
    result_bytes_max: int
    main_module: str = ""
    main_file: str = ""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    """What the handler says of its progress."""

    value: float | None
    text: str | None


class Result(msgspec.Struct, frozen=True, array_like=True, tag="result"):
    """The handler returned; `result` is encoded, None for None."""

    result: bytes | None


class Failure(msgspec.Struct, frozen=True, array_like=True, tag="failure"):
    """The attempt failed.

    `stage` says where: the payload did not decode ("decode"), the handler raised ("run"), its result can't be stored
    ("encode"), or there is no such handler ("find"). `given_up`: by the type's rule it is not to be retried.
    """

    stage: str
    kind: str
    message: str
    reason: str
    given_up: bool = False


Said = Progress | Result | Failure

_encoder = msgspec.msgpack.Encoder()
_orders = msgspec.msgpack.Decoder(Order)
_said: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)


def frame(message: Order | Said) -> bytes:
    body = _encoder.encode(message)
    return HEAD.pack(len(body)) + body


def order_of(body: bytes) -> Order:
    return _orders.decode(body)


def said_in(body: bytes) -> Said:
    """Raises msgspec.ValidationError for what no child says."""
    return _said.decode(body)


def read_body(pipe: BinaryIO) -> bytes | None:
    """The next frame's body; None when the pipe was closed."""
    head = pipe.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    (size,) = HEAD.unpack(head)
    body = pipe.read(size)
    return body if len(body) == size else None
