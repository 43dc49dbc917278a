from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

from holdfast.entities.surroundings import Surroundings
from holdfast.entities.threads import HandlerThreads
from holdfast.metrics import MetricsService
from holdfast.settings import EntitySettings


def threads_of(metrics: MetricsService) -> HandlerThreads:
    around = SimpleNamespace(settings=EntitySettings(threads=1), metrics=metrics, loop=asyncio.get_running_loop())
    return HandlerThreads(cast(Surroundings, cast(Any, around)))


async def test_a_handler_waits_in_the_queue_until_a_thread_is_free() -> None:
    metrics, hold, held = MetricsService(), threading.Event(), asyncio.Event()
    threads, loop = threads_of(metrics), asyncio.get_running_loop()

    def block() -> str:
        loop.call_soon_threadsafe(held.set)
        assert hold.wait(60)
        return "first"

    first = asyncio.ensure_future(threads.run(block))
    await asyncio.wait_for(held.wait(), 60)
    second = asyncio.ensure_future(threads.run(lambda: "second"))
    assert metrics.value("workers_queue_depth", pool="thread") == 1
    assert metrics.value("workers_active", pool="thread") == 1
    hold.set()
    assert await asyncio.gather(first, second) == ["first", "second"]
    assert metrics.value("workers_queue_depth", pool="thread") == 0
    assert metrics.value("workers_active", pool="thread") == 0
    assert metrics.value("workers_completions_total", pool="thread") == 2
    threads.close()


async def test_a_handler_cancelled_in_the_queue_leaves_it() -> None:
    metrics, hold, held = MetricsService(), threading.Event(), asyncio.Event()
    threads, loop = threads_of(metrics), asyncio.get_running_loop()
    first = asyncio.ensure_future(threads.run(lambda: (loop.call_soon_threadsafe(held.set), hold.wait(60))))
    await asyncio.wait_for(held.wait(), 60)
    second = asyncio.ensure_future(threads.run(lambda: None))
    second.cancel()
    await asyncio.sleep(0)  # the cancellation reaches the queue by a callback
    assert metrics.value("workers_queue_depth", pool="thread") == 0
    hold.set()
    await first
    assert metrics.value("workers_completions_total", pool="thread") == 1
    threads.close()


async def test_a_handler_cancelled_in_its_thread_has_left_the_queue_once_and_is_counted_when_it_ends() -> None:
    metrics, hold, held = MetricsService(), threading.Event(), asyncio.Event()
    threads, loop = threads_of(metrics), asyncio.get_running_loop()
    running = asyncio.ensure_future(threads.run(lambda: (loop.call_soon_threadsafe(held.set), hold.wait(60))))
    await asyncio.wait_for(held.wait(), 60)
    running.cancel()
    await asyncio.sleep(0)
    assert metrics.value("workers_queue_depth", pool="thread") == 0
    assert metrics.value("workers_active", pool="thread") == 1
    assert metrics.value("workers_completions_total", pool="thread") == 0
    hold.set()
    threads.close()
    assert metrics.value("workers_active", pool="thread") == 0
    assert metrics.value("workers_completions_total", pool="thread") == 1
