"""Counting what flows through an async iterator, without touching it.

Elements and their order are unchanged; an element is counted when it is handed over, so the count is right also when
the consumer stops early. The source is closed when the consumer closes the tracked stream.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterable
from typing import TypeVar

from .instruments import Counter
from .label import Labels

T = TypeVar("T")

_logger = logging.getLogger("holdfast.metrics")


async def counted(source: AsyncIterable[T], counter: Counter, labels: Labels) -> AsyncGenerator[T, None]:
    """The elements of the source, each counted."""
    child = counter.at(labels)
    try:
        async for element in source:
            child.inc()
            yield element
    finally:
        await _close(source)


async def counted_with_progress(
    source: AsyncIterable[T], counter: Counter, labels: Labels, log_interval: int
) -> AsyncGenerator[T, None]:
    """The same, with a line in the log at every so many elements and a last one at the end, however it ends."""
    child, count = counter.at(labels), 0
    try:
        async for element in source:
            child.inc()
            count += 1
            if count % log_interval == 0:
                _log("stream progress", counter, labels, count)
            yield element
    finally:
        _log("stream ended", counter, labels, count)
        await _close(source)


def _log(event: str, counter: Counter, labels: Labels, count: int) -> None:
    shown = " ".join(f"{name}={value}" for name, value in sorted(labels))
    extra = {"metric": counter.spec.name, "elements": count, "stream_labels": dict(labels)}
    _logger.info("%s: %d elements (%s %s)", event, count, counter.spec.name, shown, extra=extra)


async def _close(source: object) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
