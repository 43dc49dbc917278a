"""Handlers in processes of their own: real ones, in real time, waited for and never slept for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import ConfigurationError, JobDead
from holdfast.jobs.definition import Job, declare_job
from holdfast.jobs.door import CancelOutcome
from holdfast.jobs.workers import Worker
from holdfast.model.job import JobState

from . import heavy
from .rig import Rig

PATIENCE_S = 120.0


def with_processes(test: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        rig = Rig()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await test(rig)
        finally:
            if hasattr(rig, "engine") and not rig.store._session.closed:
                await rig.close()

    asyncio.run(main())


def declared(rig: Rig, function: Any, **options: Any) -> Job[..., Any]:
    job = function if isinstance(function, Job) else heavy.job(function, **options)
    job.door = lambda: rig.engine
    rig.jobs.append(job)
    return job


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another process is watched
        await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    if not Path("/proc/self/stat").exists():
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] == "Z"
    except OSError:
        return True


def test_a_job_runs_in_another_process_and_its_result_comes_back() -> None:
    """Sync and async; one process after the other is used again, and none is left at the end."""

    async def test(rig: Rig) -> None:
        double, slowly, pid = (declared(rig, one) for one in (heavy.double, heavy.slowly, heavy.pid))
        await rig.open(process_slots=1)
        assert await (await double.submit(4)).result() == 8
        assert await (await slowly.submit(4)).result() == 5
        first, second = await (await pid.submit()).result(), await (await pid.submit()).result()
        assert first == second != os.getpid()
        value = rig.metrics.value
        assert value("workers_completions_total", pool="process") == 4
        assert value("workers_duration_seconds_count", pool="process") == 4
        assert value("workers_active", pool="process") == value("workers_queue_depth", pool="process") == 0
        assert value("workers_crashes_total", pool="process") == 0
        await rig.close()
        assert gone(first)

    with_processes(test)


def test_a_child_that_dies_charges_its_own_job_only(tmp_path: Path) -> None:
    """The attempt has failed and is tried again in a new process."""

    async def test(rig: Rig) -> None:
        dies, double = declared(rig, heavy.dies_once), declared(rig, heavy.double)
        await rig.open(process_slots=2, retry_first=0.01)
        dying, healthy = await dies.submit(str(tmp_path / "mark")), await double.submit(3)
        assert await healthy.result() == 6
        assert await dying.result() == 2
        assert rig.metrics.value("workers_crashes_total", pool="process") == 1
        assert rig.metrics.value("jobs_retried_total", job_type="dies_once", reason="WorkerDied") == 1
        assert rig.metrics.value("jobs_failed_total") == 1

    with_processes(test)


def test_a_child_killed_from_outside_is_a_failed_attempt(tmp_path: Path) -> None:
    """kill -9, as the kernel does it when memory runs out."""

    async def test(rig: Rig) -> None:
        busy = declared(rig, heavy.busy, max_attempts=1)
        await rig.open()
        mark = tmp_path / "pid"
        handle = await busy.submit(str(mark))
        await until(lambda: mark.exists() and mark.read_text() != "")
        assert rig.metrics.value("workers_active", pool="process") == 1
        os.kill(int(mark.read_text()), signal.SIGKILL)
        with pytest.raises(JobDead, match="killed by signal 9"):
            await handle.result()
        assert rig.metrics.value("workers_crashes_total", pool="process") == 1

    with_processes(test)


def test_time_that_is_used_up_kills_the_child(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        busy = declared(rig, heavy.busy, max_attempts=1, timeout=0.2)
        await rig.open()
        with pytest.raises(JobDead, match=r"used up its 0\.2 s"):
            await (await busy.submit(str(tmp_path / "pid"))).result()
        assert rig.metrics.value("workers_timeouts_total", pool="process") == 1
        assert rig.metrics.value("workers_crashes_total", pool="process") == 0

    with_processes(test)


def test_a_cancel_kills_the_child_and_progress_is_seen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.jobs.engine.CANCEL_WAIT_S", PATIENCE_S)

    async def test(rig: Rig) -> None:
        busy, double = declared(rig, heavy.busy), declared(rig, heavy.double)
        await rig.open(process_slots=1)
        mark = tmp_path / "pid"
        handle = await busy.submit(str(mark))
        await until(lambda: mark.exists() and mark.read_text() != "")
        while (await rig.engine.status(handle.id)).progress_text != "half":  # noqa: ASYNC110 - another process says it
            await asyncio.sleep(0.005)
        assert await rig.engine.cancel(handle.id) is CancelOutcome.INTERRUPTED
        assert gone(int(mark.read_text()))
        assert await (await double.submit(1)).result() == 2, "the slot is free again, with a new process"

    with_processes(test)


def test_a_drain_gives_back_what_does_not_end(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        busy = declared(rig, heavy.busy)
        await rig.open()
        mark = tmp_path / "pid"
        handle = await busy.submit(str(mark))
        await until(lambda: mark.exists() and mark.read_text() != "")
        await rig.engine.drain(0.0)
        assert (await rig.engine.status(handle.id)).state is JobState.AVAILABLE
        assert rig.tables.starts.rows == {}

    with_processes(test)


def test_errors_keep_their_name_reason_and_rule() -> None:
    """What is given up on is decided where the classes are."""

    async def test(rig: Rig) -> None:
        fails = declared(rig, heavy.fails_job)
        much, inside = declared(rig, heavy.too_much), declared(rig, heavy.in_a_transaction, max_attempts=1)
        await rig.open(retry_first=0.01)
        with pytest.raises(JobDead, match="Strange: Odd: odd"):
            await (await fails.submit("odd")).result()
        with pytest.raises(JobDead, match="MaxRetries: ValueError: plain"):
            await (await fails.submit("plain")).result()
        with pytest.raises(JobDead, match="SerializationError"):
            await (await much.submit()).result()
        with pytest.raises(JobDead, match="can't write in its job's transaction"):
            await (await inside.submit()).result()
        value = rig.metrics.value
        assert value("jobs_failed_total", job_type="fails", reason="Strange") == 1
        assert value("jobs_failed_total", job_type="fails", reason="Processing") == 2

    with_processes(test)


def test_a_handler_that_can_not_be_imported_is_refused_where_it_is_declared() -> None:
    def inner() -> None: ...

    with pytest.raises(ConfigurationError, match="top of its module"):
        declare_job(inner, executor="process")


def test_a_handler_that_is_not_there_any_more_says_so() -> None:
    async def test(rig: Rig) -> None:
        double = declared(rig, heavy.double, max_attempts=1)
        double.declared.function.__qualname__ = "vanished"
        try:
            await rig.open()
            with pytest.raises(JobDead, match=r"HandlerMissing: .*heavy:vanished"):
                await (await double.submit(1)).result()
        finally:
            double.declared.function.__qualname__ = "double"

    with_processes(test)


PROGRAM = """
    import asyncio, os, sys
    from holdfast import App, testing

    app = App("program")

    @app.job(executor="process", name="square")
    def square(n: int) -> int:
        if n < 0:
            print("child", os.getpid(), file=sys.stderr, flush=True)
            import time
            while True:
                time.sleep(0.01)
        return n * n

    async def main():
        async with app.runner(store="memory:"):
            if len(sys.argv) > 1:
                await square.submit(-1)
                await asyncio.sleep(1000)
            print(await (await square.submit(7)).result())

    if __name__ == "__main__":
        asyncio.run(main())
"""


def test_a_handler_of_the_program_itself_is_found(tmp_path: Path) -> None:
    """`__main__` of the parent is run again under another name in the child."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    for command in ([str(program)], ["-m", "program"]):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path, check=False
        )
        assert done.stdout == "49\n", done.stderr


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    """Even when it is killed in the middle of their work."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    parent = subprocess.Popen([sys.executable, str(program), "hang"], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    with parent, parent.stderr:
        child = next(int(line.split()[1]) for line in parent.stderr if line.startswith("child"))
        parent.kill()
        parent.wait()

    async def watch() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await until(lambda: gone(child))

    asyncio.run(watch())


def test_a_child_that_is_starting_when_all_ends_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn, spawned, go = Worker.spawn, list[Worker](), asyncio.Event()

    async def slow_spawn() -> Worker:
        spawned.append(await spawn())
        await go.wait()
        return spawned[0]

    async def test(rig: Rig) -> None:
        monkeypatch.setattr(Worker, "spawn", slow_spawn)
        double = declared(rig, heavy.double)
        await rig.open(process_slots=1)
        await double.submit(4)
        await until(lambda: spawned != [])
        ending = asyncio.create_task(rig.engine.abandon())
        await asyncio.sleep(0)
        go.set()
        await ending
        assert gone(spawned[0].pid)

    with_processes(test)
