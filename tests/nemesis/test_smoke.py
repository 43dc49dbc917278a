"""A slice of `holdfast verify nemesis`: real processes, a PostgreSQL of its own, a fault every second.

The slice has the same seed in every run, a longer one (`HOLDFAST_NEMESIS_SECONDS`) another each time, and
`HOLDFAST_SEED` repeats its faults. What is late is not judged here, on a machine that may be slow; what is wrong is.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from holdfast.verify.nemesis import run
from holdfast.verify.rig import Plan

SLICE_S = 10.0
SECONDS = float(os.environ.get("HOLDFAST_NEMESIS_SECONDS", SLICE_S))
SEED = int(os.environ.get("HOLDFAST_SEED", "0" if SECONDS == SLICE_S else random.randrange(2**32)))
PATIENCE_S = 180.0


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.several
async def test_whatever_breaks_nothing_is_lost_doubled_stale_or_out_of_order(tmp_path: Path) -> None:
    """Kinds of faults are drawn one after the other, up to three at a time."""
    picture = tmp_path / "timeline.svg"
    for seconds in (SECONDS, 3 * SECONDS, 9 * SECONDS):  # until it has been enough, on a slow machine too
        plan = Plan(seed=SEED, seconds=seconds, lease_ttl_s=2.0, between_s=1.0, rest_s=PATIENCE_S)
        report = await run(plan, timeline=picture)
        assert not report.violations, report.text()
        if len(report.faults) > 3 and sum(report.acknowledged.values()) > 100:
            break
    else:
        pytest.fail(f"too little happened: {report.text()}")
    assert "<svg" in picture.read_text(encoding="utf-8")
