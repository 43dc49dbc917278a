"""When a cron expression comes due: pure, in time zones that change their offset.

Two readings of an expression, as operators expect them. With `*` as its hour it means elapsed time: `*/15 * * * *`
comes every 15 minutes, whatever the clocks on the wall do. With named hours it means the clock on the wall: what falls
into an hour that is skipped comes once, right after the gap, and what falls into an hour that is repeated comes once,
the first time. `cronsim` knows both; it takes a minute or hour of `*/n` for elapsed time too, where the wall clock was
meant, so such fields are spelled out before it sees them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from holdfast.errors import ConfigurationError
from holdfast.model.ids import SECOND_US

FIELDS = 5
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


class Cron:
    """One expression in one time zone. Moments are microseconds since the epoch."""

    __slots__ = ("_read", "expression", "tz", "zone")

    def __init__(self, expression: str, tz: str = "UTC") -> None:
        """Raises ConfigurationError for an expression or zone that can't be, and for one that never comes."""
        self.expression = expression
        self.tz = tz
        self.zone = _zone(tz)
        self._read = _spelled_out(expression)
        try:
            next(self.after(0))
        except CronSimError as error:
            raise ConfigurationError(f"the cron expression {expression!r} can't be read: {error}") from None
        except StopIteration:
            raise ConfigurationError(f"the cron expression {expression!r} never comes") from None

    def after(self, moment_us: int) -> Iterator[int]:
        """The moments after this one, soonest first, without end."""
        known_us = moment_us
        for found in CronSim(self._read, datetime.fromtimestamp(moment_us // SECOND_US, self.zone)):
            at_us = int(found.timestamp()) * SECOND_US
            if at_us > known_us:  # in a repeated hour the first one may be found again
                known_us = at_us
                yield at_us

    def next(self, moment_us: int) -> int:
        """The first moment after this one."""
        return next(self.after(moment_us))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and (self.expression, self.tz) == (other.expression, other.tz)

    def __hash__(self) -> int:
        return hash((self.expression, self.tz))

    def __repr__(self) -> str:
        return f"<cron {self.expression!r} {self.tz}>"


def moment(at_us: int) -> datetime:
    """The moment as UTC."""
    return datetime.fromtimestamp(at_us / SECOND_US, UTC)


@lru_cache(maxsize=64)
def _zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (ValueError, OSError, LookupError):
        raise ConfigurationError(f"there is no time zone {tz!r} here (write one such as Europe/Berlin)") from None


def _spelled_out(expression: str) -> str:
    fields = MACROS.get(expression.strip(), expression).split()
    if len(fields) != FIELDS:
        raise ConfigurationError(
            f"a cron expression has five fields (minute, hour, day, month, weekday), not {expression!r}"
        )
    minute, hour, *days = fields
    if hour != "*":
        minute, hour = _steps(minute, 59), _steps(hour, 23)
    return " ".join((minute, hour, *days))


def _steps(field: str, last: int) -> str:
    """The same field with its stars as ranges."""
    parts = field.split(",")
    return ",".join(f"0-{last}{part[1:]}" if part.startswith("*") else part for part in parts)
