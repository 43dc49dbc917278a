"""Rules for every test: nothing may be left over, and in CI nothing may be passed by.

A test that leaves a task, a thread or a child process behind is a test of a component that does not stop. The
check compares what is there after the test (its own fixtures torn down, its loop closed) with what was there
before, so that fixtures of a wider scope may keep things running.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

from tests.support import nursery
from tests.support.postgres import drop_emptied_schemas, ensure_server_user, given_url, wheel_server

T = TypeVar("T")

GRACE_S = 20.0  # a thread that was told to end may still be on its last lines


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three processes for the whole suite, each with a PostgreSQL of its own; a part of it runs in this one.

    One more than its machine has cores: two fifths of the time a test waits for what it has started.
    """
    return 3 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


if "CI" not in os.environ:  # where it is, Hypothesis does the same by itself
    hypothesis.settings.register_profile(
        "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    """Makes the servers' user once, before there are several processes that would, each on its own."""
    if config.getoption("numprocesses") and os.geteuid() == 0:
        ensure_server_user()


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Callable[[str], str]]:
    """URLs of real PostgreSQL servers by name; the wheel's starts when first asked for and stops with the session."""
    with ExitStack() as stack:

        @cache
        def url(name: str) -> str:
            if name == "postgres":
                return stack.enter_context(wheel_server())
            given = given_url() or ""
            stack.callback(lambda: asyncio.run(drop_emptied_schemas(given)))
            return given

        yield url


@pytest.fixture(autouse=True)
def nothing_left_over(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a non-daemon thread or a child process behind, its loop's own included."""
    if request.node.get_closest_marker("leftovers_allowed"):
        yield
        return
    threads, children = set(threading.enumerate()), child_processes()
    yield
    remaining = settle(lambda: {t for t in threading.enumerate() if not t.daemon} - threads)
    assert not remaining, f"threads left running: {remaining}"
    orphans = settle(lambda: child_processes() - children)
    assert not orphans, f"child processes left running: {[command_line(pid) for pid in orphans]}"


@pytest.fixture(autouse=True)
def no_task_left_over(request: pytest.FixtureRequest, nothing_left_over: None) -> None:
    """Fails an asynchronous test that leaves a task behind; others have no loop to look at."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("tasks_of_the_test")


@pytest.fixture
async def tasks_of_the_test(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """The check that has to look from inside the test's own loop, before it is closed."""
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # callbacks of what the test has just ended
        await asyncio.sleep(0)
    remaining = asyncio.all_tasks() - before - {asyncio.current_task()}
    allowed = request.node.get_closest_marker("leftovers_allowed")
    assert allowed or not remaining, f"tasks left running: {remaining}"


def settle(leftovers: Callable[[], set[T]]) -> set[T]:
    """What is still there after the grace period; returns at once when nothing is."""
    deadline = time.monotonic() + GRACE_S
    while (remaining := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return remaining


def child_processes() -> set[int]:
    """Process ids of our direct children, less the resource tracker and nurseries, which live as long as we do."""
    lists = (_text(path) for path in Path("/proc/self/task").glob("*/children"))
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    return {int(pid) for children in lists for pid in children.split()} - {tracker} - nursery.pids()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the thread ended between the listing and the look


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return f"{pid} (ended meanwhile)"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: what was not run is not known to work."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("HOLDFAST_CI") == "1" and reporter and reporter.stats.get("skipped"):
        reporter.write_line("HOLDFAST_CI=1: skipped tests count as failures", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
