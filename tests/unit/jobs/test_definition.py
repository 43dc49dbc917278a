"""What a decorator makes of a function, and what it refuses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast.errors import ConfigurationError, JobInvalid, MalformedMessage, NotStarted
from holdfast.jobs.definition import declare_job
from holdfast.jobs.job_type import Lane


async def greet(name: str, *, times: int = 1) -> str:
    """Says hello."""
    return f"hello {name}" * times


def compute(n: int) -> int:
    return n * n


def test_a_job_is_called_like_the_function_it_was_made_of() -> None:
    """Directly, without any runner; a sync function answers with an awaitable too."""

    async def main() -> None:
        assert await declare_job(greet)("Ann", times=2) == "hello Annhello Ann"
        assert await declare_job(compute, executor="loop")(3) == 9
        assert await declare_job(compute)(4) == 16

    asyncio.run(main())


def test_the_function_s_name_is_the_contract_unless_another_is_given() -> None:
    """Stored jobs are found by it; a name of its own survives renaming the function."""
    assert declare_job(greet).declared.name == "greet"
    assert declare_job(greet, name="say-hello").declared.name == "say-hello"
    assert declare_job(greet).__doc__ == "Says hello."

    class Mailer:
        @staticmethod
        async def send() -> None: ...

    assert declare_job(Mailer.send).declared.name == "Mailer.send"


def test_a_def_runs_in_a_thread_unless_told_otherwise() -> None:
    """An `async def` runs on the loop."""
    assert declare_job(greet).declared.lane is Lane.LOOP
    assert declare_job(compute).declared.lane is Lane.THREAD
    assert declare_job(compute, executor="loop").declared.lane is Lane.LOOP


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"executor": "thread"}, "only a sync function"),
        ({"group_limit": 0}, "group_limit is a number from 1"),
        ({"executor": "moon"}, "executor is one of"),
        ({"priority": "urgent"}, "priority is one of"),
        ({"max_attempts": 0}, "max_attempts is a number from 1"),
        ({"timeout": -1.0}, "timeout is a number of seconds above 0"),
    ],
)
def test_options_that_can_t_be_are_refused_where_they_are_written(options: Any, told: str) -> None:
    """Not when the first job runs."""
    with pytest.raises(ConfigurationError, match=told):
        declare_job(greet, **options)


def test_a_parameter_that_can_t_be_encoded_is_named_at_the_declaration() -> None:
    """A job's arguments are stored, so their types must be storable."""

    class Socket: ...

    async def send(socket: Socket) -> None: ...

    with pytest.raises(ConfigurationError, match="socket"):
        declare_job(send)


def test_wrong_arguments_are_refused_where_submit_is_called() -> None:
    """Before anything is stored, and for batches when the call is made."""
    job = declare_job(greet)
    for call in (lambda: job.call(5), lambda: job.call(), lambda: job.call("Ann", tims=2)):
        with pytest.raises(MalformedMessage):
            call()


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 1.0, "at": datetime.now(UTC)},
        {"delay": -1.0},
        {"at": datetime(2030, 1, 1)},
        {"key": ""},
        {"key": "k" * 513},
        {"key": "a\x00b"},
        {"group": "\ud800"},
        {"priority": "urgent"},
    ],
)
def test_options_of_a_submit_that_can_t_be_are_refused(options: Any) -> None:
    """With the value in the message."""
    with pytest.raises(JobInvalid):
        declare_job(greet).opts(**options)


def test_a_job_without_a_running_node_says_so() -> None:
    """Awaited or blocking."""
    job = declare_job(greet)
    with pytest.raises(NotStarted):
        job.submit("Ann")
    with pytest.raises(NotStarted):
        job.sync.submit("Ann")
    with pytest.raises(NotStarted):
        job.opts(key="k").sync.submit("Ann")
