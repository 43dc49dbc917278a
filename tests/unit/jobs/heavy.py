"""Handlers that run in a process of their own; found there by importing this module."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from holdfast.jobs.context import job_context
from holdfast.jobs.definition import Job, declare_job


class Odd(Exception):
    reason = "Strange"


def double(n: int) -> int:
    print("said to stdout, which is not the way back")
    return 2 * n


async def slowly(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


def pid() -> int:
    return os.getpid()


def dies_once(mark: str) -> int:
    """Kills its process the first time."""
    path = Path(mark)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job_context().attempt


def busy(mark: str) -> None:
    """Never ends by itself, and holds its processor."""
    job_context().progress(0.5, "half")
    Path(mark).write_text(str(os.getpid()))
    while True:
        time.sleep(0.001)


def fails(kind: str) -> None:
    raise Odd(kind) if kind == "odd" else ValueError(kind)


def too_much() -> str:
    return "x" * 2_000_000


def in_a_transaction() -> None:
    job_context().transaction()


def job(function: Any, **options: Any) -> Job[..., Any]:
    return declare_job(function, executor="process", **options)


fails_job = job(fails, max_attempts=2, give_up_on=(Odd,))
"""Under another name than its function's: its rules are found all the same."""
