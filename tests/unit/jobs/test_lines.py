"""What may overlap on its way to the store, and what may not."""

from __future__ import annotations

import asyncio

from holdfast.model.job import EndStart, JobEnd, JobRow, StartRecord
from holdfast.ports.commits import CommitItem

from .rig import Rig, simulated


@simulated
async def test_the_end_that_takes_a_start_record_away_stays_behind_the_other_ends(rig: Rig) -> None:
    """The attempts of a record are of jobs of several shards; all that is written about it is one line."""

    @rig.job
    async def work() -> None:
        await asyncio.sleep(1)

    await rig.open()
    added: list[CommitItem] = []
    add = rig.commits.add

    def noting(item: CommitItem) -> None:
        added.append(item)
        add(item)

    rig.commits.add = noting  # type: ignore[method-assign]
    for handle in await asyncio.gather(*(work.submit() for _ in range(20))):
        await handle.result()
    kinds = [{type(row) for row in item.rows} for item in added]
    of_all = [item.line for item, rows in zip(added, kinds, strict=True) if StartRecord in rows and JobRow not in rows]
    ends = [item.line for item, rows in zip(added, kinds, strict=True) if JobEnd in rows]
    assert len(of_all) == 1
    assert sum(EndStart in rows for rows in kinds) == 2
    assert sorted(ends).count(of_all[0]) >= 19
    submitted = {item.line for item, rows in zip(added, kinds, strict=True) if JobRow in rows}
    assert len(submitted) > 1
