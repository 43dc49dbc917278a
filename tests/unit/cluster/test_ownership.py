"""Several runners, one store: who serves what, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from holdfast.errors import PersistenceError
from holdfast.testing.loop import run
from tests.support.ownership import BookKeeper, Member, until
from tests.support.shared_store import SharedStore, refuse

ALL = set(range(16))


def test_one_runner_serves_everything_when_it_has_started() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        shared = SharedStore()
        member = await Member(shared).start()
        assert member.serves() == ALL == member.tenant.has
        assert loop.time() == 0.0
        assert member.tenant.told == [("adopt", tuple(range(16)))]
        await member.stop()
        assert shared.runners == {}
        assert not member.serves()

    run(main())


def test_a_second_runner_gets_half_and_no_shard_moves_twice() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one = await Member(shared, wire=wire).start()
        two = await Member(shared, wire=wire).start()
        await until(lambda: len(two.serves()) == 8)
        assert one.serves() | two.serves() == ALL
        await asyncio.sleep(30)
        assert shared.moves == 16 + 8
        await one.stop()
        await two.stop()

    run(main())


def test_runners_that_start_together_share_without_needless_moves() -> None:
    async def main() -> None:
        shared, wire = SharedStore(shards=64), dict[int, Member]()
        members = [await Member(shared, wire=wire).start()]
        for _ in range(7):
            await asyncio.sleep(0.3)
            members.append(await Member(shared, wire=wire).start())
        await until(lambda: all(len(member.serves()) == 8 for member in members))
        assert shared.moves == 64 + 56
        for member in members:
            await member.stop()

    run(main())


def test_after_a_crash_the_others_serve_within_the_lease_and_a_second() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one, two = [await Member(shared, wire=wire).start() for _ in range(2)]
        await until(lambda: len(two.serves()) == 8)
        await one.crash()
        took_s = await until(lambda: two.serves() == ALL)
        assert took_s < 6.0 + 0.3
        await two.stop()

    run(main())


def test_a_drain_gives_everything_away_with_gaps_of_milliseconds() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one, two = [await Member(shared, wire=wire).start() for _ in range(2)]
        await until(lambda: len(two.serves()) == 8)
        assert await one.ownership.drain() is True
        await until(lambda: two.serves() == ALL)
        assert one.metrics.cluster.shard_moves.value(direction="out") == 16
        handoff = two.metrics.cluster.shard_handoff.read()[()]
        assert handoff.count == 16
        assert handoff.sum / handoff.count < 0.01
        await one.stop()
        await two.stop()

    run(main())


def test_a_drain_that_nobody_can_help_with_goes_on_serving() -> None:
    async def main() -> None:
        shared = SharedStore()
        one = await Member(shared).start()
        assert await one.ownership.drain() is False
        assert one.serves() == ALL
        two = await Member(shared).start()
        await until(lambda: two.serves() == ALL)
        await one.stop()
        await two.stop()

    run(main())


def test_a_cordoned_runner_keeps_what_it_has_and_takes_nothing() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one, two, three = [await Member(shared, wire=wire).start() for _ in range(3)]
        await until(lambda: sorted(len(m.serves()) for m in (one, two, three)) == [5, 5, 6])
        kept = one.serves()
        assert await one.store.membership.want(one.id, "cordoned")
        await until(lambda: shared.runners[one.id].state == "cordoned")
        await three.stop()
        await until(lambda: one.serves() | two.serves() == ALL)
        assert one.serves() == kept
        await one.store.membership.want(one.id, "active")
        await until(lambda: len(one.serves()) == 8)
        await one.stop()
        await two.stop()

    run(main())


def test_a_reaped_incarnation_tells_its_tenant_and_ends() -> None:
    async def main() -> None:
        shared = SharedStore()
        one = await Member(shared).start()
        shared.end(one.id)
        await one.ownership.ended()
        assert one.lease.lost
        assert one.lease.lapsed
        assert not one.serves()
        assert one.tenant.told[-1] == ("lost", ())
        await one.stop()
        again = await Member(shared).start()
        assert again.serves() == ALL
        await again.stop()

    run(main())


def test_a_long_handler_in_one_shard_delays_no_other() -> None:
    async def main() -> None:
        class Busy(BookKeeper):
            async def before(self, what: str, shards: Collection[int]) -> None:
                if what == "release" and 3 in shards:
                    await asyncio.sleep(4)

        shared, wire = SharedStore(), dict[int, Member]()
        one = Member(shared, wire=wire)
        one.tenant = Busy()
        one.tenant.at_work = {3}
        await one.start()
        two = await Member(shared, wire=wire).start()
        draining = asyncio.ensure_future(one.ownership.drain())
        assert await until(lambda: two.serves() == ALL - {3}) < 2.5
        await until(lambda: not one.ownership.serves(3))
        await draining
        await until(lambda: two.serves() == ALL)
        await one.stop()
        await two.stop()

    run(main())


def test_what_is_calm_goes_together_and_what_is_at_work_is_served_until_it_is() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one = await Member(shared, wire=wire).start()
        one.tenant.at_work = {3, 5}
        two = await Member(shared, wire=wire).start()
        draining = asyncio.ensure_future(one.ownership.drain())
        await until(lambda: one.serves() == {3, 5})
        assert one.tenant.told[-1] == ("release", tuple(sorted(ALL - {3, 5})))
        await until(lambda: two.serves() == ALL - {3, 5})
        assert one.serves() == {3, 5}
        one.tenant.at_work = {3}
        await until(lambda: two.serves() == ALL - {3})
        assert one.serves() == {3}, "a shard is served until its handlers have ended"
        await until(lambda: two.serves() == ALL)  # one that always works goes all the same
        await draining
        handoff = two.metrics.cluster.shard_handoff.read()[()]
        assert handoff.sum / handoff.count < 0.01
        await one.stop()
        await two.stop()

    run(main())


def test_a_shard_that_need_not_go_after_all_stays() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one = await Member(shared, wire=wire).start()
        one.tenant.at_work = set(ALL)
        two = await Member(shared, wire=wire).start()
        await until(lambda: len(one.tenant.held_back) == 8)
        await two.stop()
        await until(lambda: one.serves() == ALL and not one.tenant.held_back)
        assert shared.owned_by(one.id) == ALL
        await one.stop()

    run(main())


def test_a_shard_that_came_back_before_the_answer_by_which_it_went_is_served() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one = await Member(shared, wire=wire).start()
        two = await Member(shared, wire=wire).start()
        answered = asyncio.Event()

        async def late(name: str) -> None:
            if name == "hand_over":
                await answered.wait()

        one.store.calls.after = late
        await until(lambda: len(two.serves()) == 8)
        await two.ownership.drain()
        assert shared.owned_by(one.id) == ALL
        await asyncio.sleep(0.1)  # it is told so
        assert len(one.serves()) == 8
        answered.set()
        await until(lambda: one.serves() == ALL)
        await one.stop()
        await two.stop()

    run(main())


def test_a_hand_over_whose_answer_is_lost_is_not_taken_for_undone() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one = await Member(shared, wire=wire).start()
        two = await Member(shared, wire=wire).start()
        lost = refuse(PersistenceError("the answer is lost", executed="unknown"))

        async def after(name: str) -> None:
            if name == "hand_over":
                await lost(name)

        one.store.calls.after = after
        await until(lambda: len(two.serves()) == 8)
        assert not one.serves() & two.serves()
        assert shared.moves == 24
        await one.stop()
        await two.stop()

    run(main())


def test_a_shard_whose_hand_over_is_unknown_is_kept_only_on_the_word_of_the_store() -> None:
    """It has moved, the answer is lost, and the store can be asked neither again nor who owns the shard for a while."""

    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one = await Member(shared, wire=wire).start()
        two = await Member(shared, wire=wire).start()
        loop = asyncio.get_running_loop()
        answers_from = loop.time() + 30.0

        async def after(name: str) -> None:
            if name == "hand_over":
                raise PersistenceError("the answer is lost", executed="unknown")

        async def before(name: str) -> None:
            if name in ("hand_over", "shards") and shared.moves > 16 and loop.time() < answers_from:
                raise PersistenceError("the store is away", executed="no")

        one.store.calls.after, one.store.calls.before = after, before
        while loop.time() < answers_from + 10.0:
            assert not {shard for shard in one.serves() if shared.shards[shard].runner_id != one.id}
            await asyncio.sleep(0.05)
        assert len(one.serves()) == len(two.serves()) == 8
        await one.stop()
        await two.stop()

    run(main())


def test_a_step_of_the_stores_clock_while_a_reap_is_under_way_ends_nobody_else() -> None:
    async def main() -> None:
        shared = SharedStore()
        members = [await Member(shared).start() for _ in range(3)]
        await members[0].crash()

        async def before(name: str) -> None:
            if name == "reap":
                shared.jumped_us += 60_000_000

        members[1].store.calls.before = before
        await until(lambda: members[0].id not in shared.runners)
        assert shared.runners.keys() == {members[1].id, members[2].id}
        for member in members[1:]:
            await member.stop()

    run(main())


def test_a_hand_over_that_the_store_refuses_leaves_the_shard_where_it_was() -> None:
    async def main() -> None:
        shared, wire = SharedStore(), dict[int, Member]()
        one = await Member(shared, wire=wire).start()
        two = await Member(shared, wire=wire).start()
        refusing = True

        async def before(name: str) -> None:
            if name == "hand_over" and refusing:
                raise PersistenceError("not now")

        one.store.calls.before = before
        await asyncio.sleep(10)
        assert one.ownership.owned == ALL
        refusing = False
        await until(lambda: len(two.serves()) == 8)
        assert one.serves() | two.serves() == ALL
        await one.stop()
        await two.stop()

    run(main())


def test_a_late_word_about_a_hand_over_changes_nothing() -> None:
    async def main() -> None:
        from holdfast.cluster.tenant import HandOver

        shared, wire = SharedStore(), dict[int, Member]()
        one, two = [await Member(shared, wire=wire).start() for _ in range(2)]
        await until(lambda: len(two.serves()) == 8)
        shard = next(iter(two.serves()))
        before = shared.shards[shard]
        assert await two.ownership.drain()
        two.ownership.handed([HandOver(before, 0.0)])
        assert not two.ownership.owned
        await one.stop()
        await two.stop()

    run(main())


def test_what_could_not_be_taken_up_is_tried_again() -> None:
    async def main() -> None:
        class Unwell(BookKeeper):
            tries = 0

            async def before(self, what: str, shards: Collection[int]) -> None:
                self.tries += 1
                if self.tries < 3 and 5 in shards:
                    raise PersistenceError("not now")

        shared = SharedStore()
        one = Member(shared)
        one.tenant = Unwell()
        await one.start()
        await until(lambda: one.serves() == ALL)
        await one.stop()

    run(main())
