"""Two signals, two meanings; and everything as it was afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from holdfast.cli import signals as signals_module
from holdfast.cli.loops import LoopName, run_on
from holdfast.cli.signals import SIGNALS, StopSignals


async def forever(signals: StopSignals, seen: list[str]) -> None:
    try:
        await signals.asked.wait()
        seen.append("asked")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_first_asks_and_the_second_cancels(loop: LoopName, monkeypatch: pytest.MonkeyPatch) -> None:
    """The previous handlers are back when the block has ended, and no timer is left to end the process."""
    monkeypatch.setattr(signals_module, "STOP_S", 600.0)
    seen: list[str] = []

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(600))
        with StopSignals(task) as signals:
            await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGTERM)
            work = asyncio.create_task(forever(signals, seen))
            with suppress(asyncio.CancelledError):
                await task
            assert signals.insisted
            work.cancel()
            await asyncio.wait({work})
            assert signals._force.finished.is_set() is False
        signals._force.join(60.0)
        assert not signals._force.is_alive()

    before = signal.getsignal(signal.SIGTERM)
    run_on(loop, main())
    assert seen == ["asked", "cancelled"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_both_ways_to_stop_a_process_are_watched() -> None:
    """A supervisor's and a person's."""
    assert set(SIGNALS) == {signal.SIGTERM, signal.SIGINT}
