"""Positive controls: what runs are like where one defence is missing. The simulation must notice each.

Defences stand behind each other: where the fence is off, a guard on a row's version may still refuse the stale write.
So with the one in question the others that would hide it are switched off too.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from random import Random
from typing import Any, NamedTuple

from holdfast.cluster.lease import Lease
from holdfast.entities.delivery import Delivery
from holdfast.entities.durable import DurableTurn
from holdfast.entities.inflight import Inflight
from holdfast.entities.leftovers import Leftovers
from holdfast.entities.units import EntityUnit
from holdfast.errors import PersistenceError
from holdfast.kit.lineup import Place
from holdfast.model.cluster import RunnerState
from holdfast.model.job import JobRow, StartRecord
from holdfast.model.message import DoneRow, MessageRow, StateRow
from holdfast.model.unit import Row, Unit
from holdfast.runtime.serving.durable import RemoteListener
from holdfast.runtime.serving.inbound import Conversation
from holdfast.storage.memory import journal as memory_journal
from holdfast.storage.memory import writes as memory_writes
from holdfast.storage.memory.journal import MemoryJournal
from holdfast.storage.memory.reads import MemoryJobReader
from holdfast.testing import gate

from .plan import Plan, plan_of
from .town import LEASE_TTL_S

Commit = Callable[..., Any]

AT_WORK_S = 2.0
"""Until then most senders have something left to do."""


@contextmanager
def _patched(*replaced: tuple[Any, str, Any]) -> Generator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _anything_goes(*_: object) -> None: ...


def _save_unguarded(tables: Any, row: StateRow) -> None:
    tables.states.put((row.entity_type, row.entity_id), row)


def no_fence() -> AbstractContextManager[None]:
    """A runner that was reaped goes on writing, and the versions of states don't stop it."""
    return _patched((memory_journal, "prove", _anything_goes), (memory_writes, "_write_state", _save_unguarded))


def ack_before_commit() -> AbstractContextManager[None]:
    """A commit is said to be on disk when it is on its way there."""
    pass_on: Commit = gate._GatedJournal._pass  # pyright: ignore[reportPrivateUsage]

    async def later(journal: Any, units: Sequence[Unit]) -> None:
        with suppress(PersistenceError):
            await pass_on(journal, units)

    under_way: set[asyncio.Task[None]] = set()

    async def at_once(journal: Any, units: Sequence[Unit]) -> None:
        task = asyncio.get_running_loop().create_task(later(journal, list(units)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    return _patched((gate._GatedJournal, "_pass", at_once))  # pyright: ignore[reportPrivateUsage]


def no_idempotency() -> AbstractContextManager[None]:
    """Keys are forgotten."""

    def forgetful(row: Row) -> Row:
        return row._replace(key=None) if isinstance(row, MessageRow | JobRow | DoneRow) else row

    def unknown(inflight: Inflight, row: MessageRow) -> None:
        return None

    return _patched((MemoryJournal, "write", _rewriting(forgetful)), (Inflight, "like", unknown))


def next_before_known() -> AbstractContextManager[None]:
    """An entity handles its next message while the commit of the last one may still fail."""
    take = EntityUnit.taken

    def taken(unit: EntityUnit) -> None:
        take(unit)
        if unit.turns:
            unit._activation.flying = None  # pyright: ignore[reportPrivateUsage]

    def failed(unit: EntityUnit, error: BaseException) -> None:
        """What ran meanwhile ran on a state that was never saved, and saves it."""
        for turn in unit.turns:
            turn.commit_failed(error)
        if unit.turns:
            unit._freed.commit_known(unit._activation)  # pyright: ignore[reportPrivateUsage]

    return _patched(
        (EntityUnit, "taken", taken), (EntityUnit, "failed", failed), (memory_writes, "_write_state", _save_unguarded)
    )


def state_apart() -> AbstractContextManager[None]:
    """The state is saved first, and then the message that changed it is consumed."""
    write, random = MemoryJournal.write, Random(0)

    def in_two(journal: MemoryJournal, units: Sequence[Unit], incarnation: int | None) -> None:
        states = Unit()
        states.rows = [row for unit in units for row in unit.rows if isinstance(row, StateRow)]
        if not states.rows:
            write(journal, units, incarnation)
            return
        write(journal, [states], incarnation)
        if random.random() < 0.3:
            raise PersistenceError("the store went away in between")
        write(journal, [_with(unit, lambda row: not isinstance(row, StateRow)) for unit in units], incarnation)

    return _patched((MemoryJournal, "write", in_two), (memory_writes, "_write_state", _save_unguarded))


def no_start_records() -> AbstractContextManager[None]:
    """Nobody writes down that an attempt starts."""
    write = MemoryJournal.write

    def without(journal: MemoryJournal, units: Sequence[Unit], incarnation: int | None) -> None:
        write(journal, [_with(unit, lambda row: not isinstance(row, StartRecord)) for unit in units], incarnation)

    return _patched((MemoryJournal, "write", without))


def rescue_by_id_only() -> AbstractContextManager[None]:
    """Who takes a shard over starts its jobs again, without a look at who is at them."""

    async def none(reader: MemoryJobReader, **_: object) -> list[StartRecord]:
        return []

    return _patched((MemoryJobReader, "starts", none))


def no_heartbeat_in_drain() -> AbstractContextManager[None]:
    """A runner that drains renews its lease no more."""
    renew: Any = Lease._renew  # pyright: ignore[reportPrivateUsage]

    async def unless_draining(lease: Lease, line: Any) -> None:
        if lease.state is not RunnerState.DRAINING:
            await renew(lease, line)

    return _patched((Lease, "_renew", unless_draining))


def commit_left_behind() -> AbstractContextManager[None]:
    """A commit that was said to have failed is made all the same, a little later."""
    pass_on: Commit = gate._GatedJournal._pass  # pyright: ignore[reportPrivateUsage]
    random = Random(0)

    async def sometimes_late(journal: Any, units: Sequence[Unit]) -> None:
        if random.random() >= 0.05:
            await pass_on(journal, units)
            return

        async def later() -> None:
            with suppress(PersistenceError):
                await pass_on(journal, units)

        under_way.append(asyncio.get_running_loop().create_task(later()))
        raise PersistenceError("the connection broke")

    under_way: list[asyncio.Task[None]] = []
    return _patched((gate._GatedJournal, "_pass", sometimes_late))  # pyright: ignore[reportPrivateUsage]


def past_the_inbox() -> AbstractContextManager[None]:
    """What a handler sends is stored at once, though something that it sent before may still wait in the inbox."""

    def nothing_there(leftovers: Leftovers, shard: int) -> bool:
        return False

    return _patched((Leftovers, "__contains__", nothing_there))


def past_a_refused_message() -> AbstractContextManager[None]:
    """What a connection brought behind a refused message is handled before that one, which comes again.

    Nobody hears of a refusal: its connection breaks.
    """

    def none(delivery: Delivery, turn: DurableTurn) -> list[DurableTurn]:
        return []

    return _patched(
        (Delivery, "_behind", none),
        (Conversation, "check_follows", _anything_goes),
        (RemoteListener, "refused", _broken_off),
    )


def _broken_off(listener: RemoteListener, error: BaseException) -> None:
    conversation = listener._conversation  # pyright: ignore[reportPrivateUsage]
    if conversation is not None:
        conversation.peer.close()


def all_come_in_at_once() -> AbstractContextManager[None]:
    """What a runner's own code sends comes in when it has been looked up, whatever was sent before it."""

    async def first(place: Place[Any], timeout_s: float | None = None) -> None: ...

    return _patched((Place, "first", first))


def _rewriting(change: Callable[[Row], Row]) -> Callable[..., None]:
    write = MemoryJournal.write

    def rewritten(journal: MemoryJournal, units: Sequence[Unit], incarnation: int | None) -> None:
        changed: list[Unit] = []
        for unit in units:
            other = Unit()
            other.rows, other.size_bytes = [change(row) for row in unit.rows], unit.size_bytes
            changed.append(other)
        write(journal, changed, incarnation)

    return rewritten


def _with(unit: Unit, keeps: Callable[[Row], bool]) -> Unit:
    other = Unit()
    other.rows, other.size_bytes = [row for row in unit.rows if keeps(row)], unit.size_bytes
    return other


class Control(NamedTuple):
    """Something that is missing, and in which plans that may matter."""

    broken: Callable[[], AbstractContextManager[None]]
    concerns: Callable[[Plan], bool]


def _always(plan: Plan) -> bool:
    return True


def _presumed_dead(plan: Plan) -> bool:
    """Somebody is away at work for longer than its lease, and another one is there to take over."""
    away = [fault for fault in plan.faults if fault.kind in ("freeze", "cut off")]
    return plan.runners > 1 and any(fault.at_s < AT_WORK_S and fault.for_s > LEASE_TTL_S for fault in away)


def _in_order(*kinds: str) -> Callable[[Plan], bool]:
    def concerns(plan: Plan) -> bool:
        return plan.orderly and plan.runners > 1 and any(fault.kind in kinds for fault in plan.faults)

    return concerns


def _doing(kind: str) -> Callable[[Plan], bool]:
    def concerns(plan: Plan) -> bool:
        return any(step.kind == kind for step in plan.steps)

    return concerns


def _refused(plan: Plan) -> bool:
    return plan.weather.store_refuses > 0.05


def _inside(plan: Plan) -> bool:
    return plan.inside


def _burst(so: Callable[[Plan], bool]) -> Callable[[Plan], bool]:
    doing = _doing("burst")
    return lambda plan: doing(plan) and so(plan)


CONTROLS: Mapping[str, Control] = {
    "no fence": Control(no_fence, _presumed_dead),
    "ack before commit": Control(ack_before_commit, _refused),
    "no idempotency key": Control(no_idempotency, _doing("keyed")),
    "next message before the commit is known": Control(next_before_known, _refused),
    "state saved apart from the message": Control(state_apart, _always),
    "no start records": Control(no_start_records, _in_order("drain", "start")),
    "rescue by id only": Control(rescue_by_id_only, _in_order("drain", "start")),
    "heartbeat stopped in drain": Control(no_heartbeat_in_drain, _in_order("drain", "stop")),
    "commit left behind": Control(commit_left_behind, _always),
    "past the inbox": Control(past_the_inbox, _doing("tell")),
    "past a refused message": Control(past_a_refused_message, _burst(_refused)),
    "all come in at once": Control(all_come_in_at_once, _burst(_inside)),
}


def seeds_that_concern(name: str) -> Iterator[int]:
    return (seed for seed in itertools.count() if CONTROLS[name].concerns(plan_of(seed)))
