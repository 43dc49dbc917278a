"""What processes ask each other beside messages: the services by name, and what crosses with each.

A question and its answer are msgpack lists in the order of their fields; fields may be added at the end, with a
default. Moments and durations are microseconds.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar

import msgspec

from holdfast.entities.declared import decode_declared, encode_declared
from holdfast.entities.handler import Handler
from holdfast.errors import SerializationError
from holdfast.jobs.call import JobCall, SubmitRules, checked_name
from holdfast.jobs.job_type import Lane
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.envelope import Failure, Timing
from holdfast.model.job import PRIORITIES
from holdfast.model.signature import ValueCodec
from holdfast.model.storable import Moment, Number
from holdfast.transport import error_of, failure_of

T = TypeVar("T")

ATTEMPTS_MAX = 2**31 - 1
"""Of a job; a column holds no more."""

ALLOCATE_IDS = "ids.allocate"
TAKE_INBOX = "inbox.take"
MESSAGE_OUTCOME = "messages.outcome"
CANCEL_TIMER = "messages.cancel_timer"
BROADCAST = "messages.broadcast"
SUBMIT_JOBS = "jobs.submit"
JOB_STATUS = "jobs.status"
JOB_WAIT = "jobs.wait"
JOB_CANCEL = "jobs.cancel"
JOB_REPLAY = "jobs.replay"
JOB_DISCARD = "jobs.discard"
JOB_INTERRUPT = "jobs.interrupt"
LEND_SLOTS = "jobs.lend"
RUN_LENT = "jobs.run_lent"
JOB_DEAD_LETTERS = "jobs.dead_letters"
RUNNERS = "cluster.runners"
SHARDS = "cluster.shards"
WHERE = "cluster.where"
MOVED = "cluster.moved"
LETTERS = "messages.dead_letters"
REPLAY_LETTER = "messages.replay"
DISCARD_LETTER = "messages.discard"

ANYTHING = ValueCodec(Any, "a job's result")
"""Stands for the codec of a result that this process only passes on."""


class AskMessage(msgspec.Struct, frozen=True, array_like=True):
    """About a durable message; what its sender left in the inbox up to `after` is taken first."""

    message_id: Number
    after: Number = 0


class MessageOutcome(msgspec.Struct, frozen=True, array_like=True):
    """How a durable message ended, as its done row keeps it: `kind` is an `OutcomeKind`."""

    entity_type: str
    method: str
    kind: int
    outcome: bytes | None


class AskTaking(msgspec.Struct, frozen=True, array_like=True):
    """That what was left for these shards up to this id be taken from the inbox."""

    up_to: int
    shards: list[int]


class AskTimer(msgspec.Struct, frozen=True, array_like=True):
    entity_type: str
    entity_id: str
    name: str
    after: Number = 0


class AskLetters(msgspec.Struct, frozen=True, array_like=True):
    """For dead letters of messages, by ascending id above `after`."""

    limit: Number
    after: Number = 0
    entity_type: str | None = None


class AskEach(msgspec.Struct, frozen=True, array_like=True):
    """A message to every live instance of a type."""

    entity_type: str
    method: str
    payload: bytes


class Spoken(msgspec.Struct, frozen=True, array_like=True):
    """One instance's answer: a value, a declared error, or an error of Holdfast's own by name."""

    value: bytes | None = None
    declared: bytes | None = None
    reason: str = ""
    message: str = ""
    executed: str = "no"
    error_type: str = ""
    incident: str = ""


class JobOrder(msgspec.Struct, frozen=True, array_like=True):
    """A job to be stored under an id that its submitter chose and keeps in every retry."""

    id: Number
    job_type: str
    payload: bytes
    priority: Annotated[int, msgspec.Meta(ge=0, lt=len(PRIORITIES))]
    max_attempts: Annotated[int, msgspec.Meta(ge=0, le=ATTEMPTS_MAX)] = 0
    timeout_us: Moment = 0
    delay_us: Moment = 0
    at_us: Moment = 0
    key: str | None = None
    group: str | None = None


class AskInterrupt(msgspec.Struct, frozen=True, array_like=True):
    """Of the executor of an attempt, by the owner of its job: the attempt is to be cancelled."""

    job: Number
    number: Number


class AskSlots(msgspec.Struct, frozen=True, array_like=True):
    """Of an executor: free slots of this lane (a `jobs.job_type.Lane`), at most so many."""

    lane: Annotated[int, msgspec.Meta(ge=0, lt=len(Lane))]
    slots: Number


class SlotsLent(msgspec.Struct, frozen=True, array_like=True):
    """Its answer: a `jobs.surroundings.Lent`."""

    credit: int
    slots: int
    types: list[str]


class Orders(msgspec.Struct, frozen=True, array_like=True):
    """Jobs that are stored together; `retry` says that an earlier try may have stored them."""

    jobs: tuple[JobOrder, ...]
    retry: bool = False
    after: Number = 0


class Submitted(msgspec.Struct, frozen=True, array_like=True):
    """The job that an order led to; of a duplicate the first one."""

    id: int
    duplicate: bool


class AskJob(msgspec.Struct, frozen=True, array_like=True):
    """About a job; `timeout_us` 0 is no bound."""

    id: str
    after: Number = 0
    timeout_us: Moment = 0


class AskDeadLetters(msgspec.Struct, frozen=True, array_like=True):
    limit: Number
    after_id: str | None = None
    job_type: str | None = None


class Moved(msgspec.Struct, frozen=True, array_like=True):
    """Shards that belong to this runner now, as the rows say; told by whoever gave or took them.

    With each the seconds for which nobody has served it.
    """

    runner: RunnerRow
    shards: list[tuple[ShardRow, float]]


class AskWhere(msgspec.Struct, frozen=True, array_like=True):
    entity_type: str
    entity_id: str


_encode = msgspec.msgpack.Encoder().encode
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def pack(value: object) -> bytes:
    """A question or an answer as it travels."""
    return _encode(value)


def unpack(payload: bytes, kind: type[T]) -> T:
    """The opposite. Raises SerializationError for what is no `kind`."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(payload)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as error:
        raise SerializationError(f"what the other process said can't be read: {error}") from error


def order_of(call: JobCall[Any], number: int) -> JobOrder:
    """A submit as it travels."""
    rules = call.rules
    return JobOrder(
        number,
        call.job_type,
        call.payload,
        rules.priority,
        rules.max_attempts,
        rules.timeout_us,
        rules.delay_us,
        rules.at_us,
        rules.key,
        rules.group,
    )


def call_of(order: JobOrder) -> JobCall[Any]:
    """The submit at its owner. Raises JobInvalid for names that no store can hold."""
    checked_name("job type", order.job_type)
    rules = SubmitRules(
        priority=order.priority,
        max_attempts=order.max_attempts,
        timeout_us=order.timeout_us,
        delay_us=order.delay_us,
        at_us=order.at_us,
        key=checked_name("key", order.key),
        group=checked_name("group", order.group),
        detached=True,
    )
    return JobCall(order.job_type, order.payload, rules, ANYTHING)


def spoken(handler: Handler, reply: Any) -> Spoken:
    """One instance's answer as it travels."""
    if not isinstance(reply, BaseException):
        return Spoken(value=handler.signature.result.encode(reply))
    if isinstance(reply, handler.options.errors):
        return Spoken(declared=encode_declared(reply))
    if isinstance(reply, asyncio.CancelledError):
        raise reply
    failure = failure_of(reply)
    return Spoken(None, None, failure.reason, failure.message, failure.executed, failure.error_type, failure.incident)


def heard(handler: Handler, said: Spoken) -> Any:
    """The opposite: a value, or an error as one."""
    if said.value is not None:
        return handler.signature.result.decode(said.value)
    if said.declared is not None:
        return decode_declared(handler, said.declared)
    executed = said.executed if said.executed in ("no", "yes") else "unknown"
    failure = Failure(0, said.reason, said.message, executed, said.error_type, said.incident)  # type: ignore[arg-type]
    return error_of(failure)


def due_at_us(timing: Timing, now_us: int) -> int:
    """When a message is due that says so; 0 for at once."""
    wait_us = timing.delay_us or timing.every_us
    return timing.due_at or (max(1, now_us + wait_us) if wait_us else 0)
