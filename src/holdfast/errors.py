"""Every error Holdfast raises, one tree.

The branch tells the caller what to do; `reason` is the name under which metrics count the error; `executed`
says whether the work may have run.

    HoldfastError
    |-- ConfigurationError          fix the setup: nothing was started
    |   |-- StoreUnavailable        the store can't be opened, or another runner holds it
    |   `-- SchemaMismatch          the store's schema is not the one this version knows
    |-- UsageError                  fix the code: the call makes no sense where it stands
    |   |-- NotStarted              no runner or client of this App is open in this process
    |   |-- NotAMessage             a ref has only messages and streams
    |   |-- HandlerEnded            a door of a handler was used after the handler had ended
    |   |-- CallCircle              a request/reply that waits for itself
    |   `-- BlockingCallOnLoop      a blocking twin was called on a running event loop
    |-- MessageError                a message was refused or its outcome is not known
    |   |-- AlreadyProcessingMessage, EntityNotAssignedToRunner, MailboxFull, MalformedMessage,
    |   |   PersistenceError (FencedOut, Conflict), RpcClientError, RunnerNotRegistered,
    |   |   RunnerUnavailable, SendTimeout, SerializationError, Suspended
    |   |-- HandlerFailed           the handler raised an error that it does not declare
    |   |-- MessageNotFound         no message has this id, or its retention has passed
    |   |-- MessageDead             a durable message used up its deliveries
    |   `-- KeyConflict             the idempotency key was used before with another payload
    `-- JobError                    a job request was refused, or the job did not complete
        |-- JobNotFound, ScheduleNotFound, AlreadyCancelled, HandlerMissing, JobInvalid, JobKeyConflict
        `-- JobFailed, JobDead, JobTimeout, JobCancelled

Sources: the reasons and their meaning are section 5 of the metrics contract.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Executed = Literal["no", "yes", "unknown"]


class HoldfastError(Exception):
    """Base of all errors raised by Holdfast."""

    @property
    def reason(self) -> str:
        """The name under which metrics count this error."""
        return type(self).__name__


class ConfigurationError(HoldfastError):
    """A setting, a declaration or the environment is wrong; nothing was started."""


class StoreUnavailable(ConfigurationError):
    """The store can't be opened, or another runner holds it."""


class SchemaMismatch(ConfigurationError):
    """The store's schema is older or newer than this version, or was changed by hand."""


class UsageError(HoldfastError):
    """The call makes no sense where it stands in the program."""


class NotStarted(UsageError):
    """No runner or client of this App is open in this process."""


class NotAMessage(UsageError, AttributeError):
    """A ref answers only for messages and streams of its entity type."""


class HandlerEnded(UsageError):
    """`self.submit`, `self.ref` or `self.transaction` was used after the handler had ended."""


class CallCircle(UsageError):
    """A request/reply, directly or round a circle, waits for the very handler that makes it."""


class BlockingCallOnLoop(UsageError):
    """A blocking twin (`.sync`) was called on a thread that runs an event loop; await the call instead."""


class MessageError(HoldfastError):
    """A message was refused, or its outcome is not known.

    `executed` is `"no"` where the handler surely left no effect, `"yes"` where it did, else `"unknown"`.
    """

    default_executed: ClassVar[Executed] = "no"

    def __init__(self, message: str = "", *, executed: Executed | None = None) -> None:
        super().__init__(message)
        self.executed: Executed = executed or self.default_executed


class AlreadyProcessingMessage(MessageError):
    """The same message id is being handled right now; ask again later."""

    default_executed = "unknown"


class EntityNotAssignedToRunner(MessageError):
    """The entity's shard moved and no new owner answered inside the deadline."""


class MailboxFull(MessageError):
    """The entity's mailbox, or the window to its runner, is full; try again with a backoff."""


class MalformedMessage(MessageError):
    """Unknown entity type or method, wrong arguments, or a payload that is too large or too deep."""


class PersistenceError(MessageError):
    """The store refused the write or was unreachable."""


class FencedOut(PersistenceError):
    """Another runner has taken over: this incarnation may write no more."""


class Conflict(PersistenceError):
    """A guarded row was not as its unit expected it; nothing of the batch was written.

    `unit_index` is the place in the batch of the first unit to blame, so that the others can be tried again at once.
    """

    def __init__(self, message: str = "", *, unit_index: int = 0, executed: Executed | None = None) -> None:
        super().__init__(message, executed=executed)
        self.unit_index = unit_index


class RpcClientError(MessageError):
    """The connection broke after the message had left."""

    default_executed = "unknown"


class RunnerNotRegistered(MessageError):
    """This runner's lease is gone; it is registering anew."""


class RunnerUnavailable(MessageError):
    """No owner could be reached inside the deadline."""


class SendTimeout(MessageError):
    """The deadline passed while waiting for the reply."""

    default_executed = "unknown"


class SerializationError(MessageError):
    """A result or a state could not be encoded or decoded."""


class Suspended(MessageError):
    """The entity or its type is paused, or its state was written by a newer version."""


class HandlerFailed(MessageError):
    """The handler raised an error it does not declare; the details stay in the runner's log under `incident`."""

    def __init__(self, message: str = "", *, error_type: str = "", incident: str = "") -> None:
        super().__init__(message, executed="no")
        self.error_type = error_type
        self.incident = incident


class MessageDead(MessageError):
    """A durable message used up its deliveries and is kept as a dead letter."""


class MessageNotFound(MessageError):
    """No message has this id, or its retention has passed."""


class KeyConflict(MessageError):
    """The idempotency key was used before with a different payload."""


class JobError(HoldfastError):
    """A job request was refused, or the job did not complete."""

    default_reason: ClassVar[str | None] = None

    @property
    def reason(self) -> str:
        return self.default_reason or type(self).__name__


class JobNotFound(JobError):
    """No job has this id, or its retention has passed."""

    default_reason = "NotFound"


class ScheduleNotFound(JobError):
    """No schedule has this name."""

    default_reason = "NotFound"


class AlreadyCancelled(JobError):
    """The job is in a terminal state already."""


class HandlerMissing(JobError):
    """No job of this type is registered here."""


class JobInvalid(JobError):
    """The payload does not decode to the handler's arguments."""

    default_reason = "Validation"


class JobKeyConflict(JobError):
    """The idempotency key was used before with a different payload."""

    default_reason = "Validation"


class JobFailed(JobError):
    """The handler raised."""

    default_reason = "Processing"


class JobDead(JobError):
    """The job used up its attempts and is kept as a dead letter until it is replayed or discarded."""

    default_reason = "MaxRetries"


class JobTimeout(JobError):
    """An attempt used up its time."""

    default_reason = "Timeout"


class JobCancelled(JobError):
    """The job was cancelled before it completed."""
