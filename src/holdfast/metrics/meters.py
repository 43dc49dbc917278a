"""One call per operation, for who counts on the hot path.

A meter is bound to one operation and its labels. `succeeded` *is* the bound `observe` of a histogram's child, so an
operation that went well costs one observation; what else follows from it (messages sent or received, operations by
outcome) is derived from the histogram when somebody reads. Failures and cancellations observe the duration in parts
of their own and, for an error, count its reason.

A meter belongs to the thread that asked for it, as the child inside it does (see `series`).
"""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, assert_never

from .children import CounterChild
from .instruments import Counter, Histogram
from .label import error_tag
from .spec import Outcome

ClusterOperation = Literal["send", "broadcast", "receive"]
JobOperation = Literal["submit", "process", "cancel", "replay"]

CLUSTER_OPERATIONS: tuple[ClusterOperation, ...] = ("send", "broadcast", "receive")
JOB_OPERATIONS: tuple[JobOperation, ...] = ("submit", "process", "cancel", "replay")


class Meter(Protocol):
    """What a tracker needs: an operation that ended, and how. Seconds are a duration."""

    def ended_well(self, seconds: float, accepted: int, /) -> None:
        """It succeeded; accepted matters to submits only."""
        ...

    def failed(self, seconds: float, error: BaseException, /) -> None:
        """It raised."""
        ...

    def cancelled(self, seconds: float, /) -> None:
        """It was cancelled."""
        ...


class OperationMeter:
    """Durations of one operation, and its errors by reason."""

    __slots__ = ("_duration", "_errors", "_labels", "_reason_label", "succeeded")

    succeeded: Callable[[float], None]
    """It succeeded, in so many seconds."""

    def __init__(self, duration: Histogram, labels: Mapping[str, str], errors: Counter, reason_label: str) -> None:
        self._duration = duration
        self._labels = labels
        self._errors = errors
        self._reason_label = reason_label
        self.succeeded = duration.ended(Outcome.OK, **labels).observe

    def ended_well(self, seconds: float, _accepted: int, /) -> None:
        """`succeeded`, as the trackers call it."""
        self.succeeded(seconds)

    def failed(self, seconds: float, error: BaseException, /) -> None:
        """It raised, after so many seconds."""
        self._duration.ended(Outcome.ERROR, **self._labels).observe(seconds)
        kept = {name: value for name, value in self._labels.items() if name in self._errors.spec.labels}
        self._errors.labels(**kept, **{self._reason_label: error_tag(error)}).inc()

    def cancelled(self, seconds: float, /) -> None:
        """It was cancelled, after so many seconds; that is no error."""
        self._duration.ended(Outcome.CANCELLED, **self._labels).observe(seconds)


class SubmitMeter:
    """The same for submits, which also count the jobs they brought."""

    __slots__ = ("_enqueued", "_meter")

    def __init__(self, meter: OperationMeter, enqueued: CounterChild) -> None:
        self._meter = meter
        self._enqueued = enqueued

    def succeeded(self, seconds: float, accepted: int = 1) -> None:
        """So many jobs were accepted, in so many seconds: none for a duplicate, N for a batch of N."""
        self._enqueued.inc(accepted)
        self._meter.succeeded(seconds)

    def ended_well(self, seconds: float, accepted: int, /) -> None:
        """`succeeded`, as the trackers call it."""
        self.succeeded(seconds, accepted)

    def failed(self, seconds: float, error: BaseException, /) -> None:
        """It raised, after so many seconds."""
        self._meter.failed(seconds, error)

    def cancelled(self, seconds: float, /) -> None:
        """It was cancelled, after so many seconds; that is no error."""
        self._meter.cancelled(seconds)


def counted_by_success(operation: ClusterOperation | JobOperation) -> str | None:
    """The counter that grows when the operation succeeds; None where the engine counts what follows.

    Every one but `submit`'s is derived from the operation's durations; the catalogue says so, a test compares.
    """
    match operation:
        case "send":
            return "cluster_messages_sent_total"
        case "receive":
            return "cluster_messages_received_total"
        case "submit":
            return "jobs_enqueued_total"
        case "cancel":
            return "jobs_cancelled_total"
        case "broadcast" | "process" | "replay":
            return None
        case _:
            assert_never(operation)
