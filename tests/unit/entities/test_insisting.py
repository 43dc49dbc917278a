"""What the engine has to know it asks until it is told."""

from __future__ import annotations

import asyncio
import logging

import pytest

from holdfast.entities.insisting import AGAIN_S, until_answered
from holdfast.errors import PersistenceError
from holdfast.testing import run


def test_a_store_that_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        if asked < 4:
            raise PersistenceError("away")
        return asked

    async def main() -> tuple[int, float]:
        return await until_answered(ask), asyncio.get_running_loop().time()

    answer, took_s = run(main())
    assert answer == 4
    assert took_s == pytest.approx(3 * AGAIN_S)


def test_another_error_is_the_callers() -> None:
    async def ask() -> int:
        raise ValueError("no store")

    with pytest.raises(ValueError, match="no store"):
        run(until_answered(ask))
