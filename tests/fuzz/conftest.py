"""The one who is attacked, fresh for each file of tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from tests.integration.processes import runner_process

from .victim import Victim


@pytest.fixture(scope="module")
def victim_process() -> Iterator[Victim]:
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        url = f"sqlite:///{folder}/s.db"
        with runner_process(url) as process:
            process.start()
            yield Victim(process, url)
            process.stop()


@pytest.fixture
async def victim(victim_process: Victim) -> Victim:
    await victim_process.find()
    return victim_process
