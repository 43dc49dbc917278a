"""Holdfast: sharded entities, durable jobs and truthful metrics for Python services.

The door: explicit names, each loaded when it is first asked for, so that a command which needs few of them starts at
once. The imports are for readers and type checkers; a test holds them, the table and `__all__` together.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.entities.definition import DurableMessage, Message, StreamMessage, message, stream
    from holdfast.entities.door import Receipt
    from holdfast.entities.entity import Entity
    from holdfast.errors import HoldfastError, JobError, MessageError
    from holdfast.jobs.context import job_context
    from holdfast.jobs.definition import Job
    from holdfast.jobs.door import CancelOutcome, DeadLetter, JobStatus
    from holdfast.jobs.handle import JobHandle
    from holdfast.metrics import MetricsService
    from holdfast.model.ids import JobId, MessageId
    from holdfast.model.job import JobState, Priority
    from holdfast.ports.journal import Transaction
    from holdfast.runtime.declarations import Module
    from holdfast.runtime.node import Node
    from holdfast.runtime.schedules import ScheduleStatus
    from holdfast.schedules.definition import Overlap
    from holdfast.settings import Settings
    from holdfast.singletons.definition import Singleton
    from holdfast.web.app import App
else:
    _HOMES = {
        "holdfast.entities.definition": "DurableMessage Message StreamMessage message stream",
        "holdfast.entities.door": "Receipt",
        "holdfast.entities.entity": "Entity",
        "holdfast.errors": "HoldfastError JobError MessageError",
        "holdfast.jobs.context": "job_context",
        "holdfast.jobs.definition": "Job",
        "holdfast.jobs.door": "CancelOutcome DeadLetter JobStatus",
        "holdfast.jobs.handle": "JobHandle",
        "holdfast.metrics": "MetricsService",
        "holdfast.model.ids": "JobId MessageId",
        "holdfast.model.job": "JobState Priority",
        "holdfast.ports.journal": "Transaction",
        "holdfast.runtime.declarations": "Module",
        "holdfast.runtime.node": "Node",
        "holdfast.runtime.schedules": "ScheduleStatus",
        "holdfast.schedules.definition": "Overlap",
        "holdfast.settings": "Settings",
        "holdfast.singletons.definition": "Singleton",
        "holdfast.web.app": "App",
    }
    _HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted(globals().keys() | _HOME_OF.keys())


__all__ = [
    "App",
    "CancelOutcome",
    "DeadLetter",
    "DurableMessage",
    "Entity",
    "HoldfastError",
    "Job",
    "JobError",
    "JobHandle",
    "JobId",
    "JobState",
    "JobStatus",
    "Message",
    "MessageError",
    "MessageId",
    "MetricsService",
    "Module",
    "Node",
    "Overlap",
    "Priority",
    "Receipt",
    "ScheduleStatus",
    "Settings",
    "Singleton",
    "StreamMessage",
    "Transaction",
    "job_context",
    "message",
    "stream",
]
