"""The services of a runner: what its clients ask about jobs, outcomes, ids, and the cluster.

Each question gets a task; it ends with one answer, a value or an error of Holdfast's own by its name.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from holdfast.entities.entity_type import EntityType
from holdfast.errors import HoldfastError, MalformedMessage
from holdfast.jobs.engine import JobEngine
from holdfast.jobs.job_type import Lane
from holdfast.jobs.lookup import job_number
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.model.envelope import Request, Result
from holdfast.model.ids import SECOND_US, JobId
from holdfast.ports.store import Ids
from holdfast.runtime import questions
from holdfast.runtime.node import Node
from holdfast.runtime.questions import (
    AskDeadLetters,
    AskEach,
    AskInterrupt,
    AskJob,
    AskLetters,
    AskMessage,
    AskSlots,
    AskTaking,
    AskTimer,
    AskWhere,
    MessageOutcome,
    Moved,
    Orders,
    SlotsLent,
    Spoken,
    Submitted,
    call_of,
    pack,
    spoken,
    unpack,
)
from holdfast.transport import failure_of

from .here import Here
from .inbound import Conversation
from .instances import LiveInstances

logger = logging.getLogger("holdfast.runtime")

IDS_MAX = 65_536
"""Ids that one question gets at most."""

Answer = Callable[[bytes], Awaitable[object]]


class Services:
    """Answers questions by their name."""

    def __init__(
        self,
        *,
        node: Node,
        jobs: JobEngine,
        types: Mapping[str, EntityType],
        ids: Ids,
        here: Here,
        instances: LiveInstances,
        moved: Callable[[Moved], None],
        outcome: Callable[[int], Awaitable[MessageOutcome]],
        inbox_taken: Callable[[int, Collection[int]], Awaitable[None]],
        tasks: TaskOwner,
    ) -> None:
        """`outcome(message id)` returns once it is known; `inbox_taken` as for `DurableIntake`; `moved` is told what
        another runner says of shards."""
        self._node = node
        self._jobs = jobs
        self._types = types
        self._ids = ids
        self._here = here
        self._instances = instances
        self._moved = moved
        self._outcome = outcome
        self._inbox_taken = inbox_taken
        self._tasks = tasks
        self._answers: dict[str, Answer] = {
            questions.ALLOCATE_IDS: self._allocate_ids,
            questions.TAKE_INBOX: self._take_inbox,
            questions.MESSAGE_OUTCOME: self._message_outcome,
            questions.CANCEL_TIMER: self._cancel_timer,
            questions.BROADCAST: self._broadcast,
            questions.LETTERS: self._dead_messages,
            questions.REPLAY_LETTER: self._replay_message,
            questions.DISCARD_LETTER: self._discard_message,
            questions.SUBMIT_JOBS: self._submit_jobs,
            questions.JOB_STATUS: self._job_status,
            questions.JOB_WAIT: self._job_wait,
            questions.JOB_CANCEL: self._job_cancel,
            questions.JOB_REPLAY: self._job_replay,
            questions.JOB_DISCARD: self._job_discard,
            questions.JOB_DEAD_LETTERS: self._job_dead_letters,
            questions.RUNNERS: self._runners,
            questions.SHARDS: self._shards,
            questions.WHERE: self._where,
            questions.MOVED: self._shards_moved,
            questions.JOB_INTERRUPT: self._job_interrupt,
            questions.LEND_SLOTS: self._lend_slots,
            questions.RUN_LENT: self._run_lent,
        }

    def take(self, conversation: Conversation, request: Request) -> None:
        answer = self._answers.get(request.service)
        if answer is None:
            raise MalformedMessage(f"no service {request.service!r} here")
        answering = self._answer(conversation, request, answer)
        conversation.waiting[request.correlation] = self._tasks.start(answering, name=request.service)

    async def _answer(self, conversation: Conversation, request: Request, answer: Answer) -> None:
        correlation = request.correlation
        try:
            value = await answer(request.payload)
            conversation.answer(Result(correlation, pack(value)))
        except Exception as error:
            if not isinstance(error, HoldfastError):
                logger.exception("the service %s failed", request.service)
            conversation.answer(failure_of(error, correlation=correlation))
        finally:
            conversation.waiting.pop(correlation, None)

    # Ids, messages.

    async def _allocate_ids(self, payload: bytes) -> int:
        return await self._ids.allocate(max(1, min(unpack(payload, int), IDS_MAX)))

    async def _take_inbox(self, payload: bytes) -> None:
        asked = unpack(payload, AskTaking)
        await self._inbox_taken(asked.up_to, asked.shards)

    async def _message_outcome(self, payload: bytes) -> MessageOutcome:
        asked = unpack(payload, AskMessage)
        await self._inbox_up_to(asked.after)
        await self._here.check_message(asked.message_id)
        return await self._outcome(asked.message_id)

    async def _cancel_timer(self, payload: bytes) -> bool:
        asked = unpack(payload, AskTimer)
        address = Address(asked.entity_type, asked.entity_id)
        self._here.check_entity(address)
        await self._inbox_up_to(asked.after)
        return await self._node.entities.cancel_timer(address, asked.name)

    async def _dead_messages(self, payload: bytes) -> object:
        asked = unpack(payload, AskLetters)
        return await self._node.dead_messages(entity_type=asked.entity_type, limit=asked.limit, after=asked.after)

    async def _replay_message(self, payload: bytes) -> int:
        number = unpack(payload, int)
        await self._here.check_letter(number)
        return await self._node.replay_message(number)

    async def _discard_message(self, payload: bytes) -> None:
        number = unpack(payload, int)
        await self._here.check_letter(number)
        await self._node.discard_message(number)

    async def _broadcast(self, payload: bytes) -> list[Spoken]:
        asked = unpack(payload, AskEach)
        declared = self._types.get(asked.entity_type)
        handler = None if declared is None else declared.handlers.get(asked.method)
        if declared is None or handler is None or handler.durable or handler.options.stream:
            raise MalformedMessage(f"{asked.entity_type}.{asked.method} is no volatile message here")
        arguments = handler.signature.decode(asked.payload)
        replies = await self._instances.tell(declared, handler, arguments, {})
        return [spoken(handler, reply) for reply in replies]

    # Jobs.

    async def _submit_jobs(self, payload: bytes) -> list[Submitted]:
        orders = unpack(payload, Orders)
        calls = [(call_of(order), order.id) for order in orders.jobs]
        await self._inbox_up_to(orders.after, self._jobs.shards_of(calls))
        return [Submitted(*admitted) for admitted in await self._jobs.admit(calls, retry=orders.retry)]

    async def _job_status(self, payload: bytes) -> object:
        return await self._jobs.status(await self._job(payload))

    async def _job_wait(self, payload: bytes) -> object:
        """None where it has not ended in time: who waits longer asks again."""
        timeout_s = unpack(payload, AskJob).timeout_us / SECOND_US
        try:
            return await self._jobs.wait(await self._job(payload), timeout=timeout_s or None)
        except TimeoutError:
            return None

    async def _job_cancel(self, payload: bytes) -> str:
        return await self._jobs.cancel(await self._job(payload))

    async def _job_replay(self, payload: bytes) -> str:
        return (await self._jobs.replay(await self._dead_job(payload))).id

    async def _job_discard(self, payload: bytes) -> None:
        await self._jobs.discard(await self._dead_job(payload))

    async def _job_dead_letters(self, payload: bytes) -> object:
        asked = unpack(payload, AskDeadLetters)
        after = None if asked.after_id is None else JobId(asked.after_id)
        return await self._jobs.dead_letters(limit=asked.limit, after=after, job_type=asked.job_type)

    async def _job(self, payload: bytes) -> JobId:
        job, number = await self._named_job(payload)
        await self._here.check_job(number)
        return job

    async def _dead_job(self, payload: bytes) -> JobId:
        job, number = await self._named_job(payload)
        await self._here.check_dead_job(number)
        return job

    async def _named_job(self, payload: bytes) -> tuple[JobId, int]:
        asked = unpack(payload, AskJob)
        await self._inbox_up_to(asked.after)
        job = JobId(asked.id)
        return job, job_number(job)

    # Jobs that run here for other runners.

    async def _job_interrupt(self, payload: bytes) -> bool:
        asked = unpack(payload, AskInterrupt)
        return await self._jobs.interrupt(asked.job, asked.number)

    async def _lend_slots(self, payload: bytes) -> SlotsLent:
        asked = unpack(payload, AskSlots)
        lent = await self._jobs.lend(Lane(asked.lane), asked.slots)
        return SlotsLent(lent.credit, lent.slots, list(lent.types))

    async def _run_lent(self, payload: bytes) -> None:
        await self._jobs.run_lent(unpack(payload, int))

    # The cluster.

    async def _runners(self, _: bytes) -> Sequence[object]:
        return await self._node.runners()

    async def _shards(self, _: bytes) -> Sequence[object]:
        return await self._node.shards()

    async def _where(self, payload: bytes) -> object:
        asked = unpack(payload, AskWhere)
        return await self._node.where(Address(asked.entity_type, asked.entity_id))

    async def _shards_moved(self, payload: bytes) -> None:
        self._moved(unpack(payload, Moved))

    async def _inbox_up_to(self, after: int, shards: Collection[int] = ()) -> None:
        if after:
            await self._inbox_taken(after, shards)
