"""Steps that write: what engines commit, and what they would never commit."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from holdfast.errors import Conflict, FencedOut
from holdfast.model.inbox import InboxKind
from holdfast.model.job import JobDiscard, JobReplay
from holdfast.model.message import Consume, InboxRow, MessageRetry, OutcomeKind, Take
from holdfast.model.unit import Row

from .machine import EVER, SideBySide
from .machine_rows import any_row, batches, jobs, messages, numbers, shards, some_shards, who
from .model import Batch, by_id, waits_for_an_operator
from .rows import DEAD, DONE, END, JOB, RETRY, STATE, start, unit


class WorkSteps(SideBySide):
    """Each of them is a batch, a read, or a write beside the journal."""

    @rule(index=who, batch=batches)
    def commit_anything(self, index: int, batch: Batch) -> None:
        self.commit(index, batch)

    @rule(index=who, rows=st.lists(st.one_of(messages, jobs), min_size=1, max_size=3))
    def admit(self, index: int, rows: list[Row]) -> None:
        self.commit(index, [[row] for row in rows])

    @precondition(lambda self: self.model.contents.messages)
    @rule(index=who, data=st.data(), more=st.lists(any_row, max_size=1), end=st.sampled_from(["reply", "retry", "die"]))
    def handle_a_message(self, index: int, data: st.DataObject, more: list[Row], end: str) -> None:
        message = data.draw(st.sampled_from(by_id(self.model.contents.messages.values())))
        number, entity_id, deliveries = message.id, message.entity_id, message.deliveries + 1
        before = self.model.contents.states.get(message.address)
        state = STATE._replace(shard=message.shard, entity_id=entity_id, version=before.version + 1 if before else 1)
        done = DONE._replace(id=number, shard=message.shard, entity_id=entity_id, key=message.key)
        match end:
            case "reply":
                rows: list[Row] = [Consume(number), done, state, *more]
            case "retry":
                due_at = self.clock.now + 1_000_000
                rows = [MessageRetry(deliveries, message.crashes, due_at, "boom", number)]
            case _:
                rows = [Consume(number), done._replace(kind=OutcomeKind.DEAD), DEAD._replace(id=number)]
        self.commit(index, [rows])

    @precondition(lambda self: self.model.contents.jobs)
    @rule(index=who, data=st.data(), end=st.sampled_from(["start", "completed", "dead", "retry", "give back"]))
    def run_a_job(self, index: int, data: st.DataObject, end: str) -> None:
        job = self.model.contents.jobs[data.draw(st.sampled_from(sorted(self.model.contents.jobs)))]
        match end:
            case "start":
                record = start(data.draw(numbers), (job.id, job.attempt + 1))
                row: Row = record._replace(executor=self.of(index)[1] or 0)
            case "completed" | "dead":
                row = END._replace(id=job.id, expected=job.attempt, state=end, finished_at=self.clock.now)
            case _:
                after = job.attempt + (end == "retry")
                row = RETRY._replace(id=job.id, expected=job.attempt, attempt=after, crashes=job.crashes)
        self.commit(index, [[row]])

    @precondition(lambda self: any(map(waits_for_an_operator, self.model.contents.archive.values())))
    @rule(index=who, data=st.data(), replay=st.booleans())
    def deal_with_a_dead_job(self, index: int, data: st.DataObject, replay: bool) -> None:
        dead = [job.id for job in self.model.contents.archive.values() if waits_for_an_operator(job)]
        number = data.draw(st.sampled_from(sorted(dead)))
        again = JOB._replace(id=data.draw(numbers), replay_of=number)
        self.commit(index, [[JobReplay(50, number), again] if replay else [JobDiscard(60, number)]])

    @rule(index=who, number=numbers, shard=shards)
    def leave_for_the_owner(self, index: int, number: int, shard: int) -> None:
        rows = [(number, shard, InboxKind.JOB, b"left"), (number + 1, shard, InboxKind.MESSAGE, b"left")]
        inbox = self.model.contents.inbox
        taken = number in inbox or number + 1 in inbox
        try:
            self.do(self.of(index)[0].inbox.leave(rows))
        except Conflict:
            assert taken
        else:
            assert not taken
            inbox.update({row[0]: InboxRow(row[0], shard, row[2], row[3], self.clock.now) for row in rows})

    @precondition(lambda self: self.model.contents.inbox)
    @rule(index=who, data=st.data(), moved=st.one_of(messages, jobs))
    def take_in(self, index: int, data: st.DataObject, moved: Row) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.contents.inbox)))
        self.commit(index, [[Take(number), moved]])

    @rule(index=who, batch=batches, commits=st.booleans())
    def commit_in_a_transaction(self, index: int, batch: Batch, commits: bool) -> None:
        """One unit in a transaction of its own, which blames nobody else."""
        store, runner = self.of(index)
        expected = self.model.commit(runner, batch[:1]) if commits else "rolled back"

        async def outcome() -> str | int:
            try:
                transaction = await store.journal.begin(timeout_s=60.0)
                if commits:
                    await transaction.commit(unit(*batch[0]))
                    return "committed"
                await transaction.rollback()
            except FencedOut:
                return "fenced" if commits else "rolled back"
            except Conflict:
                return 0
            return "rolled back"

        assert self.do(outcome()) == expected

    @rule(index=who, count=st.integers(1, 3))
    def take_ids(self, index: int, count: int) -> None:
        first = self.do(self.of(index)[0].ids.allocate(count))
        assert first >= self.ids_below
        self.ids_below = first + count

    @rule(index=who, before=st.sampled_from([1_500, 3_000, 6_000_000, EVER]))
    def prune(self, index: int, before: int) -> None:
        pruned = self.do(self.of(index)[0].maintenance.prune(finished_before=before, limit=99))
        assert pruned == self.model.contents.prune(before)
        self.met["pruned"] += pruned

    @rule(index=who, wanted=some_shards)
    def read_by_shard(self, index: int, wanted: set[int]) -> None:
        self.do(self.read_shards(self.of(index)[0], wanted))
