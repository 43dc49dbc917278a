"""MetricsService around a plain asyncio worker: no App, no store, nothing else of Holdfast.

A queue of e-mails, two workers, one address that is always refused and one delivery that is cancelled. At the end
the program prints what a scrape of `/metrics` would show about it.
"""

import asyncio

from holdfast.metrics import MetricsService

metrics = MetricsService()
started = asyncio.Event()
waiting = metrics.jobs.queue_depth.labels(job_type="send_email", priority="normal")


class AddressRefused(Exception):
    """The other side does not want this mail."""

    reason = "Validation"


@metrics.track_job(job_type="send_email", operation="process", priority="normal")
async def send_email(address: str) -> None:
    started.set()
    await asyncio.sleep(30.0 if address.startswith("slow@") else 0.001)
    if address.startswith("nobody@"):
        raise AddressRefused(address)


def submit(queue: asyncio.Queue[str], addresses: list[str]) -> None:
    """A batch is one operation that accepts several jobs."""
    with metrics.track_job(job_type="send_email", operation="submit", priority="normal") as tracked:
        for address in addresses:
            queue.put_nowait(address)
        tracked.accepted(len(addresses))
    waiting.set(queue.qsize())


async def worker(queue: asyncio.Queue[str]) -> None:
    while True:
        address = await queue.get()
        waiting.set(queue.qsize())
        try:
            await send_email(address)
            metrics.jobs.completions.labels(job_type="send_email", priority="normal").inc()
        except AddressRefused as error:
            metrics.errors.record(error)
        finally:
            queue.task_done()


async def main() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    submit(queue, [f"customer{number}@example.org" for number in range(20)])
    submit(queue, ["nobody@example.org"])
    workers = [asyncio.create_task(worker(queue)) for _ in range(2)]
    await queue.join()
    started.clear()
    submit(queue, ["slow@example.org"])
    await started.wait()
    for one in workers:
        one.cancel()  # one of them in the middle of a delivery: cancelled, which is no error
    await asyncio.gather(*workers, return_exceptions=True)

    _content_type, body = await asyncio.to_thread(metrics.exposition)
    print(*(line for line in body.decode().splitlines() if line.startswith("jobs_")), sep="\n")
    count = metrics.value
    assert count("jobs_enqueued_total") == 22
    assert count("jobs_completed_total") == 20
    assert count("jobs_failed_total", reason="Validation") == 1
    assert count("jobs_operations_total", operation="process", outcome="cancelled") == 1
    assert count("jobs_queue_depth") == 0


if __name__ == "__main__":
    asyncio.run(main())
