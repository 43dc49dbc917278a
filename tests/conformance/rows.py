"""Rows for the conformance suite, each with a default for every column."""

from __future__ import annotations

from holdfast.model.job import JobEnd, JobRetry, JobRow, StartRecord, pack_attempts
from holdfast.model.message import DeadMessageRow, DoneRow, MessageRow, StateRow
from holdfast.model.unit import Row, Unit
from holdfast.ports.membership import Registration
from tests.support.membership import LEASE_US

REGISTRATION = Registration(
    address="unix:/run/here", version="1.2.3", types=("Cart", "Stock"), groups=("default",), weight=1.0,
    lease_ttl_us=LEASE_US,
)  # fmt: skip

MESSAGE = MessageRow(
    id=0, shard=3, entity_type="Cart", entity_id="c-1", method="checkout", payload=b"payload", payload_hash=b"hash",
    key=None, headers=None, due_at=0, name=None, every_us=0, generation=0, deliveries=0, crashes=0, last_error=None,
    created_at=1_000, admitted_by=1,
)  # fmt: skip
DONE = DoneRow(
    id=0, shard=3, entity_type="Cart", entity_id="c-1", method="checkout", key=None, payload_hash=b"hash", kind=0,
    outcome=b"outcome", deliveries=1, created_at=1_000, finished_at=2_000, admitted_by=1, finished_by=1,
)  # fmt: skip
DEAD = DeadMessageRow(
    id=0, shard=3, entity_type="Cart", entity_id="c-1", method="checkout", payload=b"payload", payload_hash=b"hash",
    key=None, headers=b"headers", deliveries=10, crashes=0, last_error="boom", created_at=1_000, died_at=2_000,
)  # fmt: skip
STATE = StateRow(shard=3, entity_type="Cart", entity_id="c-1", version=1, schema=1, state=b"state")
JOB = JobRow(
    id=0, shard=3, job_type="send_receipt", priority=2, payload=b"payload", payload_hash=b"hash", key=None, group=None,
    max_attempts=5, timeout_us=30_000_000, due_at=0, eligible_at=1_000, attempt=0, crashes=0, last_error=None,
    created_at=1_000, admitted_by=1, replay_of=None, headers=b"headers",
)  # fmt: skip
RETRY = JobRetry(attempt=1, crashes=0, due_at=9_000, eligible_at=9_000, last_error="boom", id=0, expected=0)
END = JobEnd(
    id=0, expected=0, state="completed", result=b"result", error=None, reason=None, attempts=1, finished_at=2_000,
    finished_by=1,
)  # fmt: skip


def unit(*rows: Row) -> Unit:
    made = Unit()
    for row in rows:
        made.add(row)
    return made


def start(number: int, *attempts: tuple[int, int]) -> StartRecord:
    return StartRecord(id=number, owner=1, executor=1, attempts=pack_attempts(attempts), started_at=1_000)
