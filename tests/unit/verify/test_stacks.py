"""A process that hangs says where, when it is asked."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys

HANGS = """
import asyncio
from holdfast.verify.stacks import tell_stacks

async def waits_for_ever(event):
    await event.wait()

async def passes_on(event):
    await waits_for_ever(event)

async def main():
    tell_stacks(asyncio.get_running_loop())
    task = asyncio.create_task(passes_on(asyncio.Event()), name="stuck")
    await asyncio.sleep(0)
    print("ready", flush=True)
    await task

asyncio.run(main())
"""


def test_a_process_tells_its_threads_and_what_each_task_waits_in() -> None:
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGUSR1)
            lines = (line.decode().strip() for line in process.stderr)
            threads = list(itertools.takewhile(lambda line: line != "Task stuck:", lines))
            waits_in = [next(lines).rpartition(" in ")[2] for _ in range(2)]
        finally:
            process.kill()
    assert any("most recent call first" in line for line in threads)
    assert waits_in == ["passes_on", "waits_for_ever"]
