"""A machine that can't keep up: noted as harm done to all, where the store was late, and only there."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.verify import strain
from holdfast.verify.proc import Processors, processors
from holdfast.verify.rig import Rig


class Answering:
    """A store that answers after as many seconds of the played clock, and then no more."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.clock = 100.0
        self.asked_all = asyncio.Event()
        self.closed = False

    def another(self) -> Answering:
        return self

    async def rows(self, query: str) -> list[Any]:
        if not self.seconds:
            self.asked_all.set()
            await asyncio.Event().wait()
        took = self.seconds.pop(0)
        self.clock += took
        if took > 5.0:
            raise OSError("the store is away")
        return []

    async def close(self) -> None:
        self.closed = True


async def test_only_late_answers_are_noted_whether_they_came_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Answering(0.1, 3.0, 0.2, 9.0)
    monkeypatch.setattr(strain, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(strain, "now", lambda: store.clock)
    rig = SimpleNamespace(audit=store, plan=SimpleNamespace(lease_ttl_s=4.0))
    async with strain.strain_noted(cast(Rig, rig)) as found:
        await asyncio.wait_for(store.asked_all.wait(), 20)
    assert [(round(harm.began, 1), round(harm.ended, 1)) for harm in found.moments] == [(96.1, 107.1), (99.3, 116.3)]
    assert {harm.target for harm in found.moments} == {"store"}
    assert store.closed


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how busy its processors were")
async def test_how_busy_the_machine_was_is_a_share_of_what_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([Processors(10.0, 100.0), Processors(13.0, 104.0)])
    assert processors() is not None
    monkeypatch.setattr(strain, "processors", lambda: next(readings))
    rig = SimpleNamespace(audit=Answering(), plan=SimpleNamespace(lease_ttl_s=4.0))
    async with strain.strain_noted(cast(Rig, rig)) as found:
        pass
    assert found.busy == 0.75
