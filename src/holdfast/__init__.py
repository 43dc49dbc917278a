"""Holdfast: sharded entities, durable jobs and truthful metrics for Python services."""

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
from holdfast.settings import Settings
from holdfast.web.app import App

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
    "Priority",
    "Receipt",
    "Settings",
    "StreamMessage",
    "Transaction",
    "job_context",
    "message",
    "stream",
]
