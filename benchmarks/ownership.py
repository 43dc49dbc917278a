"""How does ownership scale: what does a plan cost, how many shards move, how long until everything is served again?

Plans are made for 10, 100 and 1,000 runners. Then whole `Ownership` objects run in virtual time on one shared store
whose every call takes 5 ms: one runner dies, then a tenth of their number joins at once, ten at most. The virtual store
counts readings, which is what a real one would have to carry. `--runners N --shards N` does both for that size only;
the second part takes minutes for 1,000 and is run for so many only then.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import process_time

from report import Report

from holdfast.cluster import ownership
from holdfast.cluster.assignment import assign
from holdfast.metrics import MetricsService
from holdfast.model.cluster import GroupRow, RunnerRow
from holdfast.testing.loop import run

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.ownership import Member, until
from tests.support.shared_store import SharedStore

SIZES = ((10, 640), (100, 4096), (1000, 16384))
CALL_S = 0.005
JOINING_MAX = 10
LIVES_MAX = 100  # beyond it takes minutes and gigabytes; on demand
Plan = dict[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--runners", type=int, default=None)
    parser.add_argument("--shards", type=int, default=16384)
    options = parser.parse_args()
    report = Report("ownership at scale")
    sizes = SIZES if options.runners is None else ((options.runners, options.shards),)
    for runners, shards in sizes:
        plans(report, runners, shards)
        if runners <= LIVES_MAX or options.runners is not None:
            run(lives(report, runners, shards))
    report.show(as_json=options.json)


def plans(report: Report, runners: int, shards: int) -> None:
    name = f"{runners} runners, {shards} shards"
    group = GroupRow("default", 0, shards, ("Cart",))
    rows = [_row(number) for number in range(1, runners + 1)]
    began = process_time()
    first = assign(rows, [group], {}, now_us=0)
    report.add(f"{name}: the first plan", "ms", [(process_time() - began) * 1e3], note="of CPU")
    began = process_time()
    assign(rows, [group], first, now_us=0)
    report.add(f"{name}: a plan that changes nothing", "ms", [(process_time() - began) * 1e3], note="of CPU")
    loads = Counter(first.values())
    report.add(f"{name}: most over mean load", "x", [max(loads.values()) * runners / shards])
    died = assign(rows[1:], [group], first, now_us=0)
    report.add(f"{name}: moves when one dies", "", [_moves(first, died)], note=f"it had {loads[1]}")
    joined = assign([*rows, _row(runners + 1)], [group], first, now_us=0)
    least = shards / (runners + 1)
    report.add(f"{name}: moves when one joins", "", [_moves(first, joined)], note=f"its even share is {least:.1f}")


async def lives(report: Report, runners: int, shards: int) -> None:
    name = f"{runners} runners, {shards} shards"
    ownership.assign = _Remembered()  # all of them plan alike: one process need not plan a thousand times
    loop, shared, wire = asyncio.get_running_loop(), SharedStore(shards=shards), dict[int, Member]()
    members = await _started(shared, wire, runners)
    for number, owner in assign(shared.runners.values(), shared.groups, {}, now_us=0).items():
        shared.give([number], owner)
    await asyncio.gather(*(member.ownership.start(member.tenant) for member in members))
    await asyncio.sleep(10.0)
    readings, moves = shared.readings, shared.moves
    await members[0].crash()
    died_at, lease_left_s = loop.time(), members[0].lease.view.runners[0].expires_at - shared.now_us()
    alive = members[1:]
    await until(lambda: sum(len(member.ownership.served) for member in alive) == shards, within_s=120.0)
    after_s = loop.time() - died_at - lease_left_s / 1e6
    report.add(f"{name}: all served after a lease has ended", "s", [after_s], must=1.0, aim=0.5, note="virtual time")
    report.add(f"{name}: moves", "", [shared.moves - moves])
    report.add(f"{name}: readings of all shards for it", "", [shared.readings - readings])
    await asyncio.sleep(5.0)
    joining = max(1, min(JOINING_MAX, runners // 10))
    readings, moves, joined_at = shared.readings, shared.moves, loop.time()
    more = await _started(shared, wire, joining)
    await asyncio.gather(*(member.ownership.start(member.tenant) for member in more))
    least = shards // (len(alive) + joining)
    await until(lambda: all(len(member.ownership.served) >= least for member in more), within_s=120.0)
    report.add(f"{name}: even again after {joining} joined", "s", [loop.time() - joined_at], note="virtual time")
    note = f"their even share is {shards * joining / (len(alive) + joining):.0f}"
    report.add(f"{name}: moves for them", "", [shared.moves - moves], note=note)
    report.add(f"{name}: readings of all shards for them", "", [shared.readings - readings])
    for member in (*alive, *more):
        await member.crash()


class _Remembered:
    """The plan, made once for all who have read the same rows."""

    def __init__(self) -> None:
        self._plans: dict[int, Plan] = {}

    def __call__(
        self, runners: Iterable[RunnerRow], groups: Sequence[GroupRow], current: Mapping[int, int], *, now_us: int
    ) -> Plan:
        rows = [row._replace(expires_at=row.expires_at > now_us) for row in runners]
        key = hash((tuple(rows), tuple(current.values())))  # all learnt the shards in the same order
        if key not in self._plans:
            live = [row._replace(expires_at=1 if row.expires_at else 0) for row in rows]
            self._plans = {**dict(list(self._plans.items())[-8:]), key: assign(live, groups, current, now_us=0)}
        return self._plans[key]


async def _started(shared: SharedStore, wire: dict[int, Member], count: int) -> list[Member]:
    metrics = MetricsService()
    members = [Member(shared, seed=seed, wire=wire, metrics=metrics) for seed in range(count)]
    for member in members:
        member.store.calls.before = member.store.lease_calls.before = _takes_time
        await member.lease.start(address="", version="1", types=("Cart",), groups=("default",))
        wire[member.id] = member
    return members


async def _takes_time(_: str) -> None:
    await asyncio.sleep(CALL_S)


def _moves(before: Plan, after: Plan) -> int:
    return sum(before[shard] != owner for shard, owner in after.items())


def _row(number: int) -> RunnerRow:
    return RunnerRow(number, "", "1", ("Cart",), ("default",), 1.0, "active", "active", 0, 1)


if __name__ == "__main__":
    main()
