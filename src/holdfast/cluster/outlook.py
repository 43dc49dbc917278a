"""What a runner reads of the cluster, and when the picture has settled enough to move shards for balance.

Who starts one runner starts others beside it. If each newcomer were given its shards at once, many would move several
times. So shards move for balance only when for a while nobody has come or gone, or when that has taken too long; what
nobody owns, and what a draining runner gives away, does not wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.model.cluster import GroupRow, RunnerRow, RunnerState

from .assignment import state_of

CALM_S = 1.0
CALM_WAIT_MAX_S = 5.0

Signature = tuple[tuple[object, ...], ...]


class Outlook:
    """The runners' rows and the groups, as last read. Moments are on the monotonic clock."""

    def __init__(self) -> None:
        self.rows: Sequence[RunnerRow] = ()
        self.groups: Sequence[GroupRow] = ()
        self._signature: Signature = ()
        self._changed_at = self._restless_since = float("-inf")

    def see(self, rows: Sequence[RunnerRow], *, now_us: int, at: float) -> bool:
        """Takes in the rows; whether anything in them bears on the plan."""
        self.rows = rows
        signature = tuple(_bearing(row, now_us) for row in rows)
        if signature == self._signature:
            return False
        if at >= self.calm_at:
            self._restless_since = at
        self._changed_at = at
        self._signature = signature
        return True

    @property
    def calm_at(self) -> float:
        """From when on shards may move for balance."""
        return min(self._changed_at + CALM_S, self._restless_since + CALM_WAIT_MAX_S)

    def row(self, runner_id: int) -> RunnerRow | None:
        return next((row for row in self.rows if row.runner_id == runner_id), None)

    def next_expiry(self, but: int) -> RunnerRow | None:
        """Whose lease ends first, among the others."""
        others = (row for row in self.rows if row.runner_id != but)
        return min(others, key=lambda row: row.expires_at, default=None)

    def valid(self, now_us: int) -> int:
        """How many have a valid lease."""
        return sum(row.expires_at > now_us for row in self.rows)

    @property
    def shards(self) -> int:
        return sum(group.shards for group in self.groups)


def own_state(row: RunnerRow | None, *, leaving: bool) -> RunnerState:
    """What a runner says of itself: it drains when it is to stop, else it does what its operator wants."""
    if leaving:
        return RunnerState.DRAINING
    return RunnerState.ACTIVE if row is None else RunnerState(row.wanted)


def _bearing(row: RunnerRow, now_us: int) -> tuple[object, ...]:
    valid = row.expires_at > now_us
    return row.runner_id, valid, state_of(row), row.groups, row.types, row.weight
