"""Envelopes: what crosses between two processes, one small array-like struct per kind.

A side that asks numbers what it asks (`correlation`, filled in by the connection); whatever belongs to it carries
the same number. Both sides of a connection may ask, each with numbers of its own:

    asks       Call, Request, StreamOpen; and later about them: StreamCredit, Cancel
    answers    Result, DeclaredError, Accepted, Failure; for streams also StreamItem, StreamEnd

Every Call and Request is answered once, a one-way durable Call by `Accepted` as soon as it is stored. Payloads are
opaque here: whoever knows the method's signature knows their codec. Times are whole microseconds, so that nothing
on the wire can be NaN or infinite.

On the wire a struct is a list of its tag and its fields. Fields may be added at the end, with a default: an older
reader passes over what it does not know, a newer one fills in what is missing. Tags are never used again.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from holdfast.errors import Executed

from .address import Address

ONE_WAY = 1
"""Flag of a durable Call whose sender wants to know that it is stored, not how it ends."""
RETRY = 2
"""Flag of a durable Call that may have been stored by an earlier try with the same message id: look it up."""
FOLLOWS = 4
"""Flag of a durable Call sent while the one before it, of the same sender to the same entity, was not answered: it is
refused where that one was, so that it does not come in first."""

CHAIN_MAX = 64
"""Handlers that may wait for each other in a row, over all runners."""


class Timing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When a durable message is due; `delay_us` counts from the owner's store clock, `due_at` is a moment on it."""

    delay_us: int = 0
    due_at: int = 0
    every_us: int = 0
    name: str | None = None
    generation: int = 0


class Call(msgspec.Struct, array_like=True, tag=10, gc=False):
    """A message to an entity; durable where it has a message id, which its first sender chose.

    `timeout_us` is what is left until the caller's deadline. `after` names a message of the same sender that must
    be taken from the inbox before this one. `chain` lists the entities whose handlers wait for the answer.
    """

    correlation: int
    entity_type: str
    entity_id: str
    method: str
    payload: bytes
    timeout_us: int
    message_id: int = 0
    flags: int = 0
    key: str | None = None
    after: int = 0
    timing: Timing | None = None
    chain: Annotated[tuple[Address, ...], msgspec.Meta(max_length=CHAIN_MAX)] = ()
    headers: bytes | None = None


class Request(msgspec.Struct, array_like=True, tag=11, gc=False):
    """A question to a named service of the other process."""

    correlation: int
    service: str
    payload: bytes
    timeout_us: int
    headers: bytes | None = None


class StreamOpen(msgspec.Struct, array_like=True, tag=12, gc=False):
    """Opens a stream of an entity; `credit` items may be sent before the first StreamCredit.

    `timeout_us` is for each item and not for the stream, which may last as long as both sides do; 0 leaves it to the
    owner.
    """

    correlation: int
    entity_type: str
    entity_id: str
    method: str
    payload: bytes
    credit: int
    timeout_us: int = 0
    chain: Annotated[tuple[Address, ...], msgspec.Meta(max_length=CHAIN_MAX)] = ()
    headers: bytes | None = None


class StreamCredit(msgspec.Struct, frozen=True, array_like=True, tag=13, gc=False):
    """The consumer has room for so many items more."""

    correlation: int
    credit: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=14, gc=False):
    """Nobody waits for this answer or stream any more."""

    correlation: int


class Result(msgspec.Struct, frozen=True, array_like=True, tag=20, gc=False):
    """The handler returned."""

    correlation: int
    payload: bytes


class DeclaredError(msgspec.Struct, frozen=True, array_like=True, tag=21, gc=False):
    """The handler raised an error that it declares; the payload is encoded by the method's codec."""

    correlation: int
    payload: bytes


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=22, gc=False):
    """A durable message is stored. `duplicate` is None where only the owner will find out."""

    correlation: int
    message_id: int
    duplicate: bool | None


class Failure(msgspec.Struct, frozen=True, array_like=True, tag=23, gc=False):
    """Refused, or not known how it ended: an error of Holdfast's own by its class name, and nothing internal."""

    correlation: int
    reason: str
    message: str
    executed: Executed
    error_type: str = ""
    incident: str = ""


class StreamItem(msgspec.Struct, frozen=True, array_like=True, tag=24, gc=False):
    """One element of a stream; uses up one credit."""

    correlation: int
    payload: bytes


class StreamEnd(msgspec.Struct, frozen=True, array_like=True, tag=25, gc=False):
    """The stream is over, in order. One that is not ends with a DeclaredError or a Failure."""

    correlation: int


Reply = Result | DeclaredError | Accepted | Failure
Asking = Call | Request
Incoming = Call | Request | StreamOpen | Cancel
Outgoing = Reply | StreamItem | StreamEnd
