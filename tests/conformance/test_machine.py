"""A machine of random steps against every store and against a plain model of it, which have to agree after each step.

Two runners on a shared store (one, again and again, on an embedded one) register, leave, die, reap, and hand shards
over, and commit what engines commit and what they would never commit: a batch that conflicts leaves nothing behind,
and who was fenced out writes nothing at all.

The steps are the same ones on every run. `HOLDFAST_EXAMPLES=2000 pytest tests/conformance/test_machine.py` looks
further, each time elsewhere; a failure is shrunk to the fewest steps that show it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.postgres import emptied_schema, servers

from .conftest import ManualClock, MemoryPlace, Place, PostgresPlace, SharedMemoryPlace, SqlitePlace
from .machine_ownership import OwnershipSteps
from .machine_work import WorkSteps

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where a file's fsync costs nothing: this is about what the store says, not about power cuts."""
EXAMPLES = int(os.environ.get("HOLDFAST_EXAMPLES", "0"))


def run(place_in: Callable[[AsyncExitStack, ManualClock], Awaitable[Place]], *, shared: bool, cheap: bool) -> None:
    met: Counter[str] = Counter()
    body = {"shared": shared, "every_id_each_time": cheap, "place_in": staticmethod(place_in), "met": met}
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        type("Machine", (OwnershipSteps, WorkSteps), body),
        settings=settings(
            max_examples=EXAMPLES or (30 if cheap else 6),
            stateful_step_count=40,
            derandomize=not EXAMPLES,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            print_blob=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    wanted = {"committed", "conflict", "fenced", "claimed"}
    wanted |= {"reaped"} if shared else set()
    assert wanted <= {name for name, count in met.items() if count}, met


@pytest.mark.parametrize("kind", ["memory", "shared memory", "sqlite"])
def test_a_store_in_this_process_is_what_the_model_says(kind: str) -> None:
    makers = {"memory": MemoryPlace, "shared memory": SharedMemoryPlace, "sqlite": SqlitePlace}

    async def place_in(stack: AsyncExitStack, clock: ManualClock) -> Place:
        folder = stack.enter_context(TemporaryDirectory(prefix="holdfast-", dir=IN_MEMORY))
        return makers[kind](Path(folder), clock)

    run(place_in, shared=kind == "shared memory", cheap=kind != "sqlite")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("server", servers())
def test_a_database_is_what_the_model_says(server: str, postgres_servers: Callable[[str], str]) -> None:
    url = postgres_servers(server)

    async def place_in(stack: AsyncExitStack, clock: ManualClock) -> Place:
        return PostgresPlace(await stack.enter_async_context(emptied_schema(url)), clock)

    run(place_in, shared=True, cheap=False)
