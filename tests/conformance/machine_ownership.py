"""Steps of runners and shards: they register, leave, die, keep their leases or not, reap, claim and hand over."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import rule

from holdfast.errors import FencedOut
from tests.support.membership import LEASE_US, renew

from .machine import SideBySide
from .machine_rows import some_shards, who


class OwnershipSteps(SideBySide):
    """Beside them the contents of the store stand still, but for what a death counts."""

    @rule(index=who)
    def register(self, index: int) -> None:
        self.enter(index % len(self.stores))

    @rule(index=who, back=st.sampled_from([True, True, True, False]))
    def leave(self, index: int, back: bool) -> None:
        store, runner = self.of(index)
        if runner is not None:
            self.do(store.membership.leave(runner))
            self.model.leave(runner)
        if back:
            self.enter(index % len(self.stores))

    @rule(index=who, back=st.sampled_from([True, True, True, False]))
    def die_and_open_again(self, index: int, back: bool) -> None:
        index %= len(self.stores)
        self.do(self.stores[index].close())
        self.stores[index], self.runners[index] = self.do(self.place.open()), None
        if back:
            self.enter(index % len(self.stores))

    @rule(
        by=st.sampled_from([1_000_000, LEASE_US // 2, LEASE_US + 1]),
        living=st.sampled_from([(0, 1), (0,), (1,), ()]),
        reaper=st.one_of(st.none(), who),
    )
    def wait(self, by: int, living: Sequence[int], reaper: int | None) -> None:
        self.clock.now += by
        for index in living:
            store, runner = self.of(index)
            if runner is None:
                continue
            renewal = self.do(renew(store, runner))
            assert (renewal is not None) == (runner in self.model.leases)
            if renewal is not None:
                self.model.leases[runner] = self.clock.now + LEASE_US
        if reaper is not None and self.shared:  # an embedded store's runner is alone, however late it is
            self.reap(reaper)

    def reap(self, index: int) -> None:
        reaped = self.do(self.of(index)[0].membership.reap())
        assert set(reaped) == self.model.reap(self.clock.now)
        self.met["reaped"] += len(reaped)

    @rule(index=who, wanted=some_shards)
    def claim(self, index: int, wanted: set[int]) -> None:
        store, runner = self.of(index)
        if runner is None:
            return
        try:
            rows = self.do(store.membership.claim(runner, wanted))
        except FencedOut:
            assert runner not in self.model.leases
            self.met["claim fenced"] += 1
        else:
            assert runner in self.model.leases
            assert [(row.number, row.runner_id, row.epoch) for row in rows] == self.model.move(wanted, 0, runner)
            self.met["claimed"] += len(rows)

    @rule(index=who, wanted=some_shards)
    def hand_over(self, index: int, wanted: set[int]) -> None:
        (store, giver), (_, to) = self.of(index), self.of(index + 1)
        if giver is None or to is None or giver == to:
            return
        moved = self.do(store.membership.hand_over(giver, wanted, to))
        expected = self.model.hand_over(giver, wanted, to, self.clock.now)
        assert [(row.number, row.runner_id, row.epoch) for row in moved] == expected
        self.met["handed over"] += len(moved)
