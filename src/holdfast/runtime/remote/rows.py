"""Messages and jobs as they wait in the inbox; what their owner decides is left open (0)."""

from __future__ import annotations

from typing import Any

from holdfast.jobs.call import JobCall
from holdfast.kit.hashing import payload_hash
from holdfast.model.envelope import Call, Timing
from holdfast.model.ids import micros
from holdfast.model.job import JobRow
from holdfast.model.message import MessageRow
from holdfast.runtime.questions import due_at_us
from holdfast.settings import JobSettings


def message_row(call: Call, shard: int, now_us: int) -> MessageRow:
    timing = call.timing or Timing()
    return MessageRow(
        call.message_id,
        shard,
        call.entity_type,
        call.entity_id,
        call.method,
        call.payload,
        b"" if call.key is None else payload_hash(call.payload),
        call.key,
        call.headers,
        due_at_us(timing, now_us),
        timing.name,
        timing.every_us,
        call.message_id,
        0,
        0,
        None,
        now_us,
        0,
    )


def job_row(call: JobCall[Any], number: int, shard: int, now_us: int, settings: JobSettings) -> JobRow:
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
