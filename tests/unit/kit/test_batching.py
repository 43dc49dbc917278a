"""Items are committed in order, in batches inside the bounds, each told what became of it exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kit.batching import Closed, GroupCommit, Lanes
from holdfast.testing.loop import run


class Poisoned(Exception):
    """Some item of the batch is at fault."""


class DiskGone(Exception):
    """No item is at fault."""


@dataclass(eq=False)
class Entry:
    """An item that notes what it is told."""

    name: str
    rows: Sized = (None,)
    size_bytes: int = 10
    poison: bool = False
    line: int = 0
    urgent: bool = False
    told: list[str] = field(default_factory=list)

    def taken(self) -> None:
        self.told.append("taken")

    def committed(self) -> None:
        self.told.append("committed")

    def failed(self, error: BaseException) -> None:
        self.told.append(type(error).__name__)


class Disk:
    """Writes batches, inline or with a delay; a poisoned item spoils its batch."""

    def __init__(self, *, delay_s: float | None = None, error: type[Exception] = Poisoned) -> None:
        self.delay_s = delay_s
        self.error = error
        self.tried: list[str] = []
        self.written: list[str] = []
        self.in_flight = 0
        self.in_flight_max = 1

    def __call__(self, batch: Sequence[Entry]) -> Awaitable[None] | None:
        self.tried.append("".join(entry.name for entry in batch))
        if self.delay_s is None:
            self.write(batch)
            return None
        return self.write_later(batch, self.delay_s)

    async def write_later(self, batch: Sequence[Entry], delay_s: float) -> None:
        self.in_flight += 1
        assert self.in_flight <= self.in_flight_max, "more flushes at once than lanes"
        await asyncio.sleep(delay_s)
        self.in_flight -= 1
        self.write(batch)

    def write(self, batch: Sequence[Entry]) -> None:
        if any(entry.poison for entry in batch):
            raise self.error
        self.written += [entry.name for entry in batch]


def group(disk: Callable[[Sequence[Entry]], Awaitable[None] | None], **bounds: int) -> GroupCommit[Entry]:
    loop = asyncio.get_running_loop()
    return GroupCommit(disk, loop=loop, splits=lambda error: isinstance(error, Poisoned), **bounds)


def entries(names: str, *, poison: str = "") -> list[Entry]:
    return [Entry(name, poison=name in poison) for name in names]


async def add_all(commits: GroupCommit[Entry], items: list[Entry]) -> None:
    for item in items:
        commits.add(item)
    await commits.drain()


async def test_one_pass_of_the_loop_is_one_batch() -> None:
    """What several tasks add in the same pass is committed together, and nothing is flushed before it ends."""
    disk = Disk()
    commits = group(disk)

    async def adds(name: str) -> None:
        commits.add(Entry(name))
        assert disk.tried == []

    await asyncio.gather(*(adds(name) for name in "abc"))
    await commits.drain()
    assert disk.tried == ["abc"]


async def test_an_inline_commit_makes_no_task() -> None:
    """The embedded store's path costs no task and no await."""
    commits = group(Disk())
    before = asyncio.all_tasks()
    commits.add(Entry("a"))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert commits.waiting == 0


async def test_a_flush_uses_no_timer() -> None:
    """A lone item is committed in the pass after the one that added it."""
    entry = Entry("a")
    group(Disk()).add(entry)
    await asyncio.sleep(0)
    assert entry.told == ["taken", "committed"]


def test_items_gather_while_a_flush_is_in_flight() -> None:
    """Under load the batch is what came during the flush before it."""

    async def main() -> None:
        disk = Disk(delay_s=1.0)
        commits = group(disk)
        for item in entries("abcdef"):
            commits.add(item)
            await asyncio.sleep(0.4)
        await commits.drain()
        assert disk.tried == ["a", "bc", "def"]

    run(main())


@pytest.mark.parametrize("delay_s", [None, 0.1])
def test_bounds_hold_and_an_oversized_item_goes_alone(delay_s: float | None) -> None:
    """At most so many rows and bytes a flush, in order, with nothing left behind."""

    async def main() -> None:
        disk = Disk(delay_s=delay_s)
        weights = {"a": (2, 10), "b": (2, 10), "c": (1, 10), "d": (9, 10), "e": (1, 60), "f": (1, 50), "g": (1, 500)}
        items = [Entry(name, rows=range(rows), size_bytes=size) for name, (rows, size) in weights.items()]
        await add_all(group(disk, rows_max=4, bytes_max=100), items)
        assert disk.tried == ["ab", "c", "d", "e", "f", "g"]

    run(main())


@pytest.mark.parametrize("delay_s", [None, 0.1])
def test_the_guilty_item_fails_alone(delay_s: float | None) -> None:
    """A failed batch is halved until only the poison is left; the others are on the disk, in order."""

    async def main() -> None:
        disk = Disk(delay_s=delay_s)
        items = entries("abcdefgh", poison="c")
        await add_all(group(disk), items)
        assert disk.tried == ["abcdefgh", "abcd", "ab", "cd", "c", "d", "efgh"]
        assert "".join(disk.written) == "abdefgh"
        assert {item.name: item.told[-1] for item in items if item.poison} == {"c": "Poisoned"}

    run(main())


def test_halves_go_before_what_came_later() -> None:
    """Bisecting does not let new items overtake."""

    async def main() -> None:
        disk = Disk(delay_s=1.0)
        commits = group(disk)
        for item in entries("abcd", poison="d"):
            commits.add(item)
        await asyncio.sleep(0.5)
        await add_all(commits, entries("xy"))
        assert "".join(disk.written) == "abcxy"

    run(main())


async def test_an_error_that_does_not_split_fails_the_batch() -> None:
    """When the disk is gone there is no use in trying the halves."""
    disk = Disk(error=DiskGone)
    items = entries("abc", poison="b")
    await add_all(group(disk), items)
    assert disk.tried == ["abc"]
    assert all(item.told == ["taken", "DiskGone"] for item in items)


async def test_a_cancelled_commit_fails_its_items() -> None:
    """Its outcome is for the items' owners to find out; nobody waits for ever."""

    async def cancelled(batch: Sequence[Entry]) -> None:
        raise asyncio.CancelledError

    item = Entry("a")
    await add_all(group(cancelled), [item])
    assert item.told == ["taken", "CancelledError"]


async def test_a_future_may_stand_for_the_commit() -> None:
    """A driver that answers with a future needs no task around it."""
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    item = Entry("a")
    commits = group(lambda batch: outcome)
    commits.add(item)
    await asyncio.sleep(0)
    assert item.told == ["taken"]
    outcome.set_result(None)
    await commits.drain()
    assert item.told == ["taken", "committed"]


async def test_what_an_item_adds_when_it_hears_goes_with_the_next_batch() -> None:
    """A chain of writes needs no turn of its own for each."""
    disk = Disk()
    commits = group(disk)

    class Chain(Entry):
        def committed(self) -> None:
            if len(self.name) < 4:
                commits.add(Chain(self.name + "x"))

    await add_all(commits, [Chain("a"), Chain("b")])
    assert disk.tried == ["ab", "axbx", "axxbxx", "axxxbxxx"]


@pytest.mark.parametrize("moment", ["taken", "committed", "failed"])
async def test_an_item_that_raises_harms_no_other(moment: str) -> None:
    """It is reported to the loop; the batch goes its way."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))

    class Rude(Entry):
        def __getattribute__(self, name: str) -> Any:
            return self.rage if name == moment else super().__getattribute__(name)

        def rage(self, *_: object) -> None:
            raise LookupError("no such shelf")

    others = [Entry("a"), Entry("b", poison=moment == "failed")]
    await add_all(group(Disk(error=DiskGone)), [others[0], Rude("r"), others[1]])
    assert {item.told[-1] for item in others} == {"DiskGone" if moment == "failed" else "committed"}
    assert [type(report["exception"]) for report in reports] == [LookupError]


def test_draining_waits_for_all_of_it() -> None:
    """Also for what is added meanwhile; and it returns at once when there is nothing."""

    async def main() -> None:
        commits = group(Disk(delay_s=1.0))
        await commits.drain()
        first, later = entries("ab")
        commits.add(first)
        asyncio.get_running_loop().call_later(0.5, commits.add, later)
        await asyncio.gather(commits.drain(), commits.drain())
        assert later.told == ["taken", "committed"]

    run(main())


def test_a_cancelled_drain_leaves_the_others_waiting() -> None:
    """Several may wait for the same emptiness."""

    async def main() -> None:
        commits = group(Disk(delay_s=1.0))
        commits.add(Entry("a"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await commits.drain()
        await commits.drain()
        assert asyncio.get_running_loop().time() == pytest.approx(1)

    run(main())


def test_closing_refuses_new_items_and_finishes_the_old() -> None:
    """From the call on, not from its end."""

    async def main() -> None:
        commits = group(Disk(delay_s=1.0))
        old = Entry("a")
        commits.add(old)
        closing = asyncio.create_task(commits.close())
        await asyncio.sleep(0.5)
        with pytest.raises(Closed):
            commits.add(Entry("b"))
        await closing
        await commits.close()
        assert old.told == ["taken", "committed"]

    run(main())


def test_abandoning_fails_what_was_not_taken() -> None:
    """What is in flight keeps its own outcome."""

    async def main() -> None:
        disk = Disk(delay_s=1.0)
        commits = group(disk)
        flying, waiting = entries("ab")
        commits.add(flying)
        await asyncio.sleep(0.5)
        commits.add(waiting)
        assert (commits.waiting, commits.waiting_bytes) == (1, 10)
        commits.abandon(DiskGone())
        with pytest.raises(Closed):
            commits.add(Entry("c"))
        await commits.drain()
        assert (waiting.told, flying.told) == (["DiskGone"], ["taken", "committed"])
        assert (commits.waiting, commits.waiting_bytes) == (0, 0)

    run(main())


def test_what_came_later_is_not_waited_for() -> None:
    """Settled is what has come until now, and a stream of later items does not put it off."""

    async def main() -> None:
        commits = group(Disk(delay_s=1.0))
        early, late = entries("ab")
        commits.add(early)
        waiting = asyncio.ensure_future(commits.settled())
        await asyncio.sleep(0.5)
        commits.add(late)
        await waiting
        assert early.told[-1] == "committed"
        assert "committed" not in late.told
        await commits.drain()
        await commits.settled()
        assert late.told == ["taken", "committed"]

    run(main())


def test_lines_overlap_and_each_keeps_its_order() -> None:
    """While one lane's batch is under way the other's goes too; of one line nothing overtakes."""

    async def main() -> None:
        disk = Disk(delay_s=1.0)
        disk.in_flight_max = 2
        lanes = Lanes(lambda: group(disk), 2, loop=asyncio.get_running_loop())
        slow, quick, behind = Entry("a", line=2), Entry("b", line=3), Entry("c", line=2)
        lanes.add(slow)
        await asyncio.sleep(0.25)
        lanes.add(behind)
        lanes.add(quick)
        await asyncio.sleep(0.25)
        assert disk.tried == ["a", "b"]
        assert lanes.busy
        await lanes.settled()
        assert disk.written == ["a", "b", "c"]
        await lanes.close()
        with pytest.raises(Closed):
            lanes.add(Entry("d"))
        assert not lanes.busy

    run(main())


def test_what_is_urgent_goes_at_once_and_the_rest_waits_for_it() -> None:
    """What is in flight goes on, and what came meanwhile begins when the urgent one is known."""

    async def main() -> None:
        disk = Disk(delay_s=0.01)
        disk.in_flight_max = 3
        lanes = Lanes(lambda: group(disk), 2, loop=asyncio.get_running_loop())
        lanes.add(Entry("a"))
        await asyncio.sleep(0.005)
        lanes.add(Entry("b"))
        lanes.add(Entry("c", line=1))
        lanes.add(Entry("U", urgent=True))
        await asyncio.sleep(0.001)
        assert disk.tried == ["a", "U"]
        await asyncio.sleep(0.006)
        assert (disk.written, disk.tried) == (["a"], ["a", "U"])
        await lanes.settled()
        assert disk.written == ["a", "U", "b", "c"] or disk.written == ["a", "U", "c", "b"]
        await lanes.close()

    run(main())


def test_what_is_urgent_holds_nothing_up_for_long() -> None:
    """Neither one that hangs, nor many after one another; and a failed one lets the rest go as well."""

    async def main() -> None:
        disk = Disk(delay_s=1.0)
        disk.in_flight_max = 2
        lanes = Lanes(lambda: group(disk), 1, loop=asyncio.get_running_loop())
        for number in range(3):
            lanes.add(Entry(f"U{number}", urgent=True))
            lanes.add(Entry(f"{number}"))
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert disk.tried == ["U0", "012"]
        await lanes.settled()
        assert sorted(disk.written) == ["0", "1", "2", "U0", "U1", "U2"]
        disk.delay_s = 0.01
        poisoned, other = Entry("P", poison=True, urgent=True), Entry("o")
        lanes.add(poisoned)
        lanes.add(other)
        await lanes.close()
        assert (poisoned.told[-1], other.told[-1]) == ("Poisoned", "committed")

    run(main())


async def test_senseless_bounds_are_refused() -> None:
    """A batch that could hold nothing would never end."""
    with pytest.raises(ValueError, match="at least one row"):
        group(Disk(), rows_max=0)


@given(
    weights=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans()), max_size=40),
    bounds=st.tuples(st.integers(1, 8), st.integers(1, 80)),
    delay_s=st.sampled_from([None, 0.0, 0.3]),
    gaps=st.lists(st.sampled_from([None, 0.0, 0.2]), min_size=40, max_size=40),
    seed=st.integers(0, 1000),
)
def test_every_item_is_committed_once_in_order_or_fails_alone(
    weights: list[tuple[int, int, bool]],
    bounds: tuple[int, int],
    delay_s: float | None,
    gaps: list[float | None],
    seed: int,
) -> None:
    """Whatever the sizes, the bounds, the pace and the poison."""

    async def main() -> None:
        disk = Disk(delay_s=delay_s)
        commits = group(disk, rows_max=bounds[0], bytes_max=bounds[1])
        items = [Entry(chr(0x4E00 + n), range(rows), size, poison) for n, (rows, size, poison) in enumerate(weights)]
        weight = {item.name: item for item in items}
        for item, gap in zip(items, gaps, strict=False):
            commits.add(item)
            if gap is not None:
                await asyncio.sleep(gap)
        await commits.close()
        assert disk.written == [item.name for item in items if not item.poison]
        for item in items:
            assert item.told == ["taken", "Poisoned" if item.poison else "committed"]
        for batch in disk.tried:
            rows = sum(len(weight[name].rows) for name in batch)
            size = sum(weight[name].size_bytes for name in batch)
            assert len(batch) == 1 or (rows <= bounds[0] and size <= bounds[1])

    run(main(), seed=seed)
