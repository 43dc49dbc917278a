"""Trackers: around functions, blocks and awaitables, unnoticed by what they are around."""

import asyncio
import inspect
from collections.abc import Iterator
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.metrics import MetricsService, Tracker, label
from holdfast.metrics.series import Ledger
from holdfast.metrics.trackers import remembered


class Clock:
    """Moves by half a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


@pytest.fixture
def metrics() -> MetricsService:
    return MetricsService(clock=Clock())


def outcomes(metrics: MetricsService) -> dict[str, float]:
    counts = {one: metrics.value("cluster_operations_total", outcome=one) for one in ("ok", "error", "cancelled")}
    return {one: count for one, count in counts.items() if count}


def sending(metrics: MetricsService) -> Tracker:
    return metrics.track_cluster(operation="send", entity_type="Cart")


async def test_an_awaitable_gives_its_own_result(metrics: MetricsService) -> None:
    """And takes the time from its start to its end."""
    result = object()

    async def work() -> object:
        return result

    assert await sending(metrics)(work()) is result
    future = asyncio.get_running_loop().create_future()
    future.set_result(result)
    assert await sending(metrics)(future) is result
    assert outcomes(metrics) == {"ok": 2}
    assert metrics.value("cluster_message_latency_seconds_sum") == 1.0


async def test_an_error_passes_through_as_it_is(metrics: MetricsService) -> None:
    """The very same object, counted once by its reason."""
    error = LookupError("x")

    async def work() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        await sending(metrics)(work())
    assert caught.value is error
    assert outcomes(metrics) == {"error": 1}
    assert metrics.value("cluster_errors_total", entity_type="Cart", type="LookupError") == 1
    assert metrics.value("cluster_messages_sent_total") == 0
    assert metrics.value("cluster_message_latency_seconds_sum") == 0.5


async def test_a_cancellation_is_no_error_and_passes_on(metrics: MetricsService) -> None:
    """The task ends as cancelled; the outcome says so; the time counts."""
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(sending(metrics)(work()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert outcomes(metrics) == {"cancelled": 1}
    assert metrics.value("cluster_errors_total") == 0
    assert metrics.value("cluster_message_latency_seconds_count") == 1


def test_a_cancelled_future_of_a_thread_is_no_error_either(metrics: MetricsService) -> None:
    """Blocking code meets another class of the same meaning."""
    with pytest.raises(FutureCancelledError), sending(metrics):
        raise FutureCancelledError
    assert outcomes(metrics) == {"cancelled": 1}


async def test_a_decorated_async_function_stays_one(metrics: MetricsService) -> None:
    """Name, signature and kind are kept, and it may run many times at once."""

    @sending(metrics)
    async def add(sku: str, *, qty: int = 1) -> str:
        """Adds."""
        await asyncio.sleep(0)
        return f"{sku}{qty}"

    assert inspect.iscoroutinefunction(add)
    assert (add.__name__, add.__doc__, str(inspect.signature(add))) == (
        "add", "Adds.", "(sku: str, *, qty: int = 1) -> str",
    )  # fmt: skip
    assert await asyncio.gather(*(add("a", qty=number) for number in range(3))) == ["a0", "a1", "a2"]
    assert outcomes(metrics) == {"ok": 3}


def test_a_decorated_function_counts_each_call(metrics: MetricsService) -> None:
    """Results and errors unchanged."""

    @metrics.track_job(job_type="mail", operation="process")
    def divide(a: int, b: int) -> float:
        return a / b

    assert divide(6, 3) == 2
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)
    assert metrics.value("jobs_operations_total", outcome="ok") == 1
    assert metrics.value("jobs_failed_total", reason="ZeroDivisionError") == 1
    assert metrics.value("jobs_processing_seconds_sum") == 1.0


async def test_a_plain_function_that_hands_out_a_coroutine_is_measured_to_its_end(metrics: MetricsService) -> None:
    """Its work is still to come when it returns."""

    async def work() -> str:
        raise ValueError

    @sending(metrics)
    def start() -> object:
        return work()

    with pytest.raises(ValueError):
        await start()  # type: ignore[misc]
    assert outcomes(metrics) == {"error": 1}


async def test_a_callable_object_with_an_async_call_is_awaited(metrics: MetricsService) -> None:
    """As frameworks write their handlers."""

    class Handler:
        async def __call__(self) -> int:
            return 5

    assert await sending(metrics)(Handler())() == 5
    assert outcomes(metrics) == {"ok": 1}


async def test_as_a_block(metrics: MetricsService) -> None:
    """Around anything, awaits included, one block after another."""
    tracker = sending(metrics)
    with tracker:
        await asyncio.sleep(0)
    with pytest.raises(KeyError), tracker:
        raise KeyError
    assert outcomes(metrics) == {"ok": 1, "error": 1}


def test_a_block_inside_its_own_block_is_refused(metrics: MetricsService) -> None:
    """The start of the outer one would be forgotten."""
    tracker = sending(metrics)
    with tracker, pytest.raises(RuntimeError, match="one per block"):
        tracker.__enter__()
    assert outcomes(metrics) == {"ok": 1}


def test_a_block_says_how_many_jobs_it_accepted(metrics: MetricsService) -> None:
    """N for a batch, none for a duplicate, one if it says nothing; an error accepts none."""

    def submitting() -> Tracker:
        return metrics.track_job(job_type="mail", operation="submit", priority="low")

    with submitting() as tracked:
        tracked.accepted(5)
    with submitting() as tracked:
        tracked.accepted(0)
    with submitting():
        pass
    with pytest.raises(ValueError), submitting() as tracked:
        tracked.accepted(3)
        raise ValueError
    assert metrics.value("jobs_enqueued_total", job_type="mail", priority="low") == 6


def test_only_a_submit_accepts(metrics: MetricsService) -> None:
    """And never less than nothing."""
    with pytest.raises(ValueError, match="only a submit"):
        metrics.track_job(job_type="mail", operation="replay").accepted(1)
    with pytest.raises(ValueError):
        metrics.track_job(job_type="mail", operation="submit").accepted(-1)


def test_unknown_operations_are_refused_at_the_call(metrics: MetricsService) -> None:
    """Not when the first result is in."""
    with pytest.raises(ValueError, match="sumbit"):
        metrics.track_job(job_type="mail", operation="sumbit")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown operation"):
        metrics.track_cluster(operation="cancel", entity_type="Cart")  # type: ignore[arg-type]


def test_what_cannot_be_tracked_is_refused(metrics: MetricsService) -> None:
    """Neither a function nor an awaitable."""
    with pytest.raises(TypeError, match="not int"):
        sending(metrics)(5)  # type: ignore[call-overload]


def test_a_tracker_counts_right_in_any_thread(metrics: MetricsService) -> None:
    """The same decorated function in the owner's thread and in others."""
    function = sending(metrics)(lambda: None)
    function()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(function) for _ in range(40)]:
            done.result()
    assert outcomes(metrics) == {"ok": 41}


def test_a_remembered_meter_is_one_for_the_owner_and_one_for_the_others(metrics: MetricsService) -> None:
    """A meter made in the owner's thread takes no lock, so no other thread may be given it."""
    ledger = Ledger(10)
    meter = remembered(lambda: metrics.cluster.meter(operation="send", entity_type="Cart"), ledger)
    mine = meter()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        theirs = one.submit(meter).result()
        assert other.submit(meter).result() is theirs
    assert meter() is mine is not theirs


async def test_track_effect_uses_what_each_instrument_can_say(metrics: MetricsService) -> None:
    """The labels it has, the outcome and the reason where it has a place for them."""
    tracker = metrics.track_effect(
        duration=metrics.storage.operation,
        errors=metrics.jobs.failures,
        labels=label(operation="flush", job_type="mail"),
    )

    async def fail() -> None:
        raise TimeoutError

    with tracker:
        pass
    with pytest.raises(TimeoutError):
        await tracker(fail())
    with pytest.raises(asyncio.CancelledError), tracker:
        raise asyncio.CancelledError
    for outcome in ("ok", "error", "cancelled"):
        assert metrics.value("storage_operation_seconds_count", operation="flush", outcome=outcome) == 1
    assert metrics.snapshot()["jobs_failed_total", label(job_type="mail", reason="TimeoutError")] == 1


def test_track_effect_works_with_either_instrument_or_none(metrics: MetricsService) -> None:
    """What is not given is not counted."""
    with pytest.raises(OSError), metrics.track_effect(errors=metrics.errors.total):
        raise OSError
    with metrics.track_effect(duration=metrics.jobs.duration, labels={"job_type": "mail", "priority": None}):
        pass
    with metrics.track_effect():
        pass
    assert metrics.value("errors_total", type="OSError") == 1
    assert metrics.value("jobs_duration_seconds_count", job_type="mail") == 1


def test_a_generator_closed_inside_a_block_counts_as_cancelled(metrics: MetricsService) -> None:
    """Its consumer had enough; nothing went wrong."""

    def numbers() -> Iterator[int]:
        with sending(metrics):
            yield 1

    source = numbers()
    next(source)
    source.close()
    assert outcomes(metrics) == {"cancelled": 1}
