"""Inbox entries: a message and a job as they wait for their owner, who decides what is left open (0) here. Pure."""

from __future__ import annotations

from typing import Any

from holdfast.entities.door import SendOptions
from holdfast.jobs.call import JobCall
from holdfast.kit.hashing import payload_hash
from holdfast.model.address import Address
from holdfast.model.envelope import Timing
from holdfast.model.ids import micros
from holdfast.model.job import JobRow
from holdfast.model.message import MessageRow
from holdfast.settings import JobSettings


def timing_of(options: SendOptions) -> Timing | None:
    """When and how often, as it travels; None for once and at once."""
    if options.delay is None and options.at is None and options.every is None and options.name is None:
        return None
    return Timing(
        delay_us=micros(options.delay or 0),
        due_at=0 if options.at is None else micros(options.at.timestamp()),
        every_us=micros(options.every or 0),
        name=options.name,
    )


def due_at_us(timing: Timing, now_us: int) -> int:
    """When a message is due that says so; 0 for at once."""
    wait_us = timing.delay_us or timing.every_us
    return timing.due_at or (now_us + wait_us if wait_us else 0)


def message_row(
    address: Address,
    method: str,
    payload: bytes,
    *,
    number: int,
    shard: int,
    key: str | None,
    timing: Timing | None,
    now_us: int,
    headers: bytes | None = None,
) -> MessageRow:
    """A message as it waits in the inbox."""
    timing = timing or Timing()
    return MessageRow(
        number,
        shard,
        address.entity_type,
        address.entity_id,
        method,
        payload,
        payload_hash(payload),
        key,
        headers,
        due_at_us(timing, now_us),
        timing.name,
        timing.every_us,
        number,
        0,
        0,
        None,
        now_us,
        0,
    )


def job_row(call: JobCall[Any], *, number: int, shard: int, now_us: int, settings: JobSettings) -> JobRow:
    """A job as it waits in the inbox."""
    rules = call.rules
    due_at = now_us + rules.delay_us if rules.delay_us else rules.at_us if rules.at_us > now_us else 0
    return JobRow(
        number,
        shard,
        call.job_type,
        rules.priority,
        call.payload,
        b"" if rules.key is None else payload_hash(call.payload),
        rules.key,
        rules.group,
        rules.max_attempts or settings.max_attempts,
        rules.timeout_us or micros(settings.timeout),
        due_at,
        due_at or now_us,
        0,
        0,
        None,
        now_us,
        0,
        None,
        None,
    )
