"""Counted streams: the same elements, and a count that is right however the stream ends."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from holdfast.metrics import MetricsService, label

LABELS = label(entity_type="Cart", method="history")


class Source:
    """Numbers, and whether somebody closed them."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.closed = False
        self._count = count
        self._error = error

    async def elements(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self._count):
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    return [(record.getMessage().split(":")[0], record.elements) for record in caplog.records]  # type: ignore[attr-defined]


async def test_elements_and_order_are_unchanged() -> None:
    """One more in the counter for each."""
    metrics = MetricsService()
    seen = [one async for one in metrics.track_stream(Source(5).elements(), metrics.stream.elements, LABELS)]
    assert seen == [0, 1, 2, 3, 4]
    assert metrics.value("stream_elements_total", entity_type="Cart", method="history") == 5


async def test_a_consumer_that_stops_early_is_counted_right() -> None:
    """Three taken are three counted, and the source is closed with the stream."""
    metrics, source = MetricsService(), Source(10)
    async with aclosing(metrics.track_stream(source.elements(), metrics.stream.elements, LABELS)) as stream:
        async for number in stream:
            if number == 2:
                break
    assert metrics.value("stream_elements_total") == 3
    assert source.closed


async def test_an_error_of_the_source_passes_through() -> None:
    """After the elements before it."""
    metrics, error = MetricsService(), KeyError("x")
    seen: list[int] = []
    with pytest.raises(KeyError) as caught:
        async for number in metrics.track_stream(Source(2, error).elements(), metrics.stream.elements, LABELS):
            seen.append(number)
    assert (caught.value, seen) == (error, [0, 1])
    assert metrics.value("stream_elements_total") == 2


async def test_any_async_iterable_will_do() -> None:
    """Also one that cannot be closed."""

    class Bare:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            if self.left == 0:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    metrics = MetricsService()
    assert [one async for one in metrics.track_stream(Bare(), metrics.stream.elements)] == [1, 0]
    assert metrics.value("stream_elements_total") == 2


async def test_progress_is_logged_at_every_interval_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """With the true count; the counter moves as without the log."""
    metrics = MetricsService()
    with caplog.at_level(logging.INFO, "holdfast.metrics"):
        stream = metrics.track_stream_progress(Source(7).elements(), metrics.stream.elements, LABELS, log_interval=3)
        assert [one async for one in stream] == list(range(7))
    assert logged(caplog) == [("stream progress", 3), ("stream progress", 6), ("stream ended", 7)]
    assert metrics.value("stream_elements_total") == 7


@pytest.mark.parametrize("taken", [0, 1, 3, 4])
async def test_the_last_line_is_true_when_the_consumer_stops_early(
    taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What was handed over, not what the source could have given."""
    metrics = MetricsService()
    with caplog.at_level(logging.INFO, "holdfast.metrics"):
        stream = metrics.track_stream_progress(Source(9).elements(), metrics.stream.elements, LABELS, log_interval=3)
        for _ in range(taken):
            await anext(stream)
        await stream.aclose()
    last = [("stream ended", taken)] if taken else []  # a stream nobody began has no end
    assert logged(caplog)[-1:] == last
    assert metrics.value("stream_elements_total") == taken


async def test_the_last_line_comes_after_an_error_too(caplog: pytest.LogCaptureFixture) -> None:
    """The operator at night wants to know how far it got."""
    metrics = MetricsService()
    source = Source(2, ValueError("x")).elements()
    with caplog.at_level(logging.INFO, "holdfast.metrics"), pytest.raises(ValueError):
        async for _ in metrics.track_stream_progress(source, metrics.stream.elements):
            pass
    assert logged(caplog) == [("stream ended", 2)]


def test_an_interval_below_one_is_refused_at_the_call() -> None:
    """Not at the first element."""
    metrics = MetricsService()
    with pytest.raises(ValueError, match="at least 1"):
        metrics.track_stream_progress(Source(1).elements(), metrics.stream.elements, LABELS, 0)
