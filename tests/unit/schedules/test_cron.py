"""When a cron expression comes due, above all where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from holdfast.errors import ConfigurationError
from holdfast.model.ids import micros
from holdfast.schedules.cron import Cron, moment

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def on_day(expression: str, tz: str, day: str) -> list[str]:
    """All moments of one local day, as local time with its offset."""
    zone = ZoneInfo(tz)
    start = datetime.fromisoformat(day).replace(tzinfo=zone)
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=zone)
    found: list[str] = []
    for at_us in Cron(expression, tz).after(micros(start.timestamp()) - 1):
        at = moment(at_us)
        if at >= end:
            return found
        found.append(at.astimezone(zone).strftime("%H:%M%z"))
    raise AssertionError("a cron expression has no end")


@pytest.mark.parametrize(
    "tz,day,expected",
    [(BERLIN, "2026-03-29", "03:00+0200"), (NEW_YORK, "2026-03-08", "03:00-0400")],
)
@pytest.mark.parametrize("expression", ["30 2 * * *", "0 2 * * *", "*/30 2 * * *", "* 2 * * *"])
def test_what_falls_into_a_skipped_hour_comes_once_right_after_it(
    expression: str, tz: str, day: str, expected: str
) -> None:
    assert on_day(expression, tz, day) == [expected]


@pytest.mark.parametrize("expression,times", [("30 {} * * *", ["30"]), ("*/20 {} * * *", ["00", "20", "40"])])
@pytest.mark.parametrize(
    "tz,day,hour,offset", [(BERLIN, "2026-10-25", 2, "+0200"), (NEW_YORK, "2026-11-01", 1, "-0400")]
)
def test_what_falls_into_a_repeated_hour_comes_the_first_time_only(
    tz: str, day: str, hour: int, offset: str, expression: str, times: list[str]
) -> None:
    assert on_day(expression.format(hour), tz, day) == [f"0{hour}:{minute}{offset}" for minute in times]


@pytest.mark.parametrize("tz,day", [(BERLIN, "2026-10-25"), (NEW_YORK, "2026-11-01")])
def test_asked_from_within_the_second_of_the_two_hours_it_is_not_found_again(tz: str, day: str) -> None:
    hour = 2 if tz == BERLIN else 1
    second = datetime.fromisoformat(f"{day}T0{hour}:10").replace(tzinfo=ZoneInfo(tz), fold=1)
    at = moment(Cron(f"30 {hour} * * *", tz).next(micros(second.timestamp()))).astimezone(ZoneInfo(tz))
    assert at.date() == second.date() + timedelta(days=1)


@pytest.mark.parametrize("tz", [BERLIN, NEW_YORK, "Pacific/Apia", "UTC"])
def test_with_any_hour_it_is_elapsed_time(tz: str) -> None:
    """An hour stays one for a year, whatever the zone does."""
    start = micros(datetime(2011, 6, 1, tzinfo=UTC).timestamp())
    found = list(islice(Cron("0 * * * *", tz).after(start), 366 * 24))
    assert {later - earlier for earlier, later in pairwise(found)} == {micros(3600)}


@pytest.mark.parametrize("day,count", [("2026-03-29", 12), ("2026-10-25", 12), ("2026-06-01", 12)])
def test_every_second_hour_is_the_clock_on_the_wall(day: str, count: int) -> None:
    assert len(on_day("0 */2 * * *", BERLIN, day)) == count


@pytest.mark.parametrize("tz", [BERLIN, NEW_YORK])
def test_a_daily_time_comes_once_on_each_day_of_four_years(tz: str) -> None:
    zone = ZoneInfo(tz)
    for expression in ("30 1 * * *", "30 2 * * *", "0 3 * * *", "0 9 * * *"):
        start = micros(datetime(2024, 1, 1, tzinfo=zone).timestamp()) - 1
        days = [moment(at).astimezone(zone).date() for at in islice(Cron(expression, tz).after(start), 1500)]
        assert {later - earlier for earlier, later in pairwise(days)} == {timedelta(days=1)}


def test_working_days_are_named_as_operators_name_them() -> None:
    friday_evening = micros(datetime(2026, 1, 2, 20, tzinfo=ZoneInfo(BERLIN)).timestamp())
    at = moment(Cron("0 9 * * MON-FRI", BERLIN).next(friday_evening))
    assert at == datetime(2026, 1, 5, 8, tzinfo=UTC)


def test_the_moment_asked_from_is_not_among_the_moments() -> None:
    nine = micros(datetime(2026, 1, 5, 9, tzinfo=UTC).timestamp())
    assert Cron("0 9 * * *").next(nine) == nine + micros(86400)
    assert Cron("0 9 * * *").next(nine - 1) == nine


@pytest.mark.parametrize("macro,expression", [("@hourly", "0 * * * *"), ("@daily", "0 0 * * *")])
def test_the_usual_words_are_known(macro: str, expression: str) -> None:
    assert list(islice(Cron(macro, BERLIN).after(0), 50)) == list(islice(Cron(expression, BERLIN).after(0), 50))


@pytest.mark.parametrize("expression", ["", "* * *", "0 0 30 2 *", "61 * * * *", "* * * * * *", "a b c d e"])
def test_an_expression_that_cannot_be_is_refused_where_it_is_written(expression: str) -> None:
    with pytest.raises(ConfigurationError, match="cron expression"):
        Cron(expression)


@pytest.mark.parametrize("tz", ["Europe/Berlim", "", "../etc/passwd"])
def test_a_zone_that_is_not_there_is_refused_where_it_is_written(tz: str) -> None:
    with pytest.raises(ConfigurationError, match="time zone"):
        Cron("0 9 * * *", tz)
