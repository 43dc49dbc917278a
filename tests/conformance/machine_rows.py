"""What the machine's steps are made of: numbers that often meet, and rows of every type."""

from __future__ import annotations

from hypothesis import strategies as st

from holdfast.model.address import Address
from holdfast.model.inbox import InboxKind
from holdfast.model.job import EndStart, FreshJob, JobDiscard, JobReplay
from holdfast.model.message import Consume, DeadMessageEnd, InboxRow, MessageRetry, Take, TimerCancel
from holdfast.model.unit import Row

from .rows import DEAD, DONE, END, JOB, MESSAGE, RETRY, STATE, start

SHARDS = 3
CARTS = [Address("Cart", f"c-{shard}") for shard in range(SHARDS)]

numbers = st.integers(1, 6)
shards = st.integers(0, SHARDS - 1)
some_shards = st.sets(shards)
times = st.sampled_from([0, 0, 5_000_000, 30_000_000])
ends = st.sampled_from([2_000, 5_000_000, 30_000_000])
"""When something finished: not before it was created, as everywhere."""
keys = st.sampled_from([None, None, "k"])
who = st.integers(0, 1)
messages = st.builds(
    lambda number, shard, key, name, due_at: MESSAGE._replace(
        id=number, shard=shard, entity_id=CARTS[shard].entity_id, key=key, name=name, due_at=due_at
    ),
    numbers, shards, keys, st.sampled_from([None, None, "tick"]), times,
)  # fmt: skip
jobs = st.builds(
    lambda number, shard, key, group, due_at: JOB._replace(id=number, shard=shard, key=key, group=group, due_at=due_at),
    numbers, shards, keys, st.sampled_from([None, "g"]), times,
)  # fmt: skip
any_row: st.SearchStrategy[Row] = st.one_of(
    messages,
    jobs,
    st.builds(Consume, numbers),
    st.builds(lambda number, due: MessageRetry(1, 0, due, "boom", number), numbers, times),
    st.builds(lambda shard: TimerCancel(*CARTS[shard], "tick"), shards),
    st.builds(lambda number, key, at: DONE._replace(id=number, key=key, finished_at=at), numbers, keys, ends),
    st.builds(lambda number: DEAD._replace(id=number), numbers),
    st.builds(DeadMessageEnd, numbers),
    st.builds(
        lambda shard, version: STATE._replace(shard=shard, entity_id=CARTS[shard].entity_id, version=version),
        shards, numbers,
    ),
    st.builds(lambda number, shard: InboxRow(number, shard, InboxKind.JOB, b"row", 1_000), numbers, shards),
    st.builds(Take, numbers),
    st.builds(lambda number, old, new: RETRY._replace(id=number, expected=old, attempt=old + new), numbers, who, who),
    st.builds(
        lambda number, old, state, at: END._replace(id=number, expected=old, state=state, finished_at=at),
        numbers, who, st.sampled_from(["completed", "dead"]), ends,
    ),
    st.builds(FreshJob, numbers),
    st.builds(JobReplay, st.just(50), numbers),
    st.builds(JobDiscard, st.just(60), numbers),
    st.builds(lambda number, job, executor: start(number, (job, 1))._replace(executor=executor), numbers, numbers, who),
    st.builds(EndStart, numbers),
)  # fmt: skip
batches = st.lists(st.lists(any_row, min_size=1, max_size=2), min_size=1, max_size=3)
