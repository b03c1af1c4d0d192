"""Dates and times as Debezium has them with `time.precision.mode: adaptive`, and intervals as microseconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  -- of timestamps without a zone
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY_US: Final = 86_400_000_000
_MONTH_US: Final = 2_629_800_000_000
"""365.25 / 12 days, on which `interval.handling.mode: numeric` reckons."""
_MOST: Final = (1 << 63) - 1

_MOMENT: Final = re.compile(
    r"(?P<year>\d{4,})-(?P<month>\d\d)-(?P<day>\d\d)(?:[ T](?P<clock>[\d:.]+))?(?:\+00)?(?P<era> BC)?"
)
_ZONED: Final = re.compile(r"([\d:.]+)([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?")
_INTERVAL: Final = re.compile(
    r"(?:([+-]?\d+) years? ?)?(?:([+-]?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?(?:([+-]?)(\d+):(\d\d):(\d\d(?:\.\d+)?))?"
)
_ISO_INTERVAL: Final = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?[\d.]+)S)?)?"
)
# What java.time makes of the driver's infinities there.
_INFINITE_DATES: Final = {"infinity": -2_147_472_692, "-infinity": -2_147_472_691}
_INFINITE_US: Final = {"infinity": 9_223_372_036_825_200_000, "-infinity": -9_223_372_036_832_400_000}


def _days(year: int, month: int, day: int) -> int:
    """Since 1970-01-01, in the proleptic Gregorian calendar; year 0 is 1 BC. Howard Hinnant's published algorithm."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _moment(text: str) -> tuple[int, int, int, int] | None:
    """Year, month, day, and microseconds of the day."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    year = int(found["year"])
    return 1 - year if found["era"] else year, int(found["month"]), int(found["day"]), clock_us(found["clock"] or "0:0")


def clock_us(text: str) -> int:
    """`03:04:05.1` in microseconds."""
    hours, minutes, *rest = text.split(":")
    seconds, _, fraction = (rest[0] if rest else "0").partition(".")
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1_000_000 + int(fraction[:6].ljust(6, "0"))


def days(text: str) -> int | None:
    """`io.debezium.time.Date`."""
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError:
        pass
    found = _moment(text)
    return _INFINITE_DATES.get(text) if found is None else _days(*found[:3])


def timestamp_us(text: str) -> int | None:
    """`io.debezium.time.MicroTimestamp`; what 64 bits do not hold is the most that they hold."""
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except (TypeError, ValueError):
        pass
    found = _moment(text)
    if found is None:
        return _INFINITE_US.get(text)
    return max(-_MOST - 1, min(_MOST, _days(*found[:3]) * _DAY_US + found[3]))


def timestamp_ms(text: str) -> int | None:
    """`io.debezium.time.Timestamp`, of types with three digits after the second or fewer."""
    found = timestamp_us(text)
    if found is None or text in _INFINITE_US:
        return None if found is None else int(found / abs(found)) * (abs(found) // 1000)
    return found // 1000


def time_ms(text: str) -> int:
    """`io.debezium.time.Time`, of types with three digits after the second or fewer."""
    return clock_us(text) // 1000


def zoned_timestamp(digits: int) -> Callable[[str], str]:
    """Reads `io.debezium.time.ZonedTimestamp` with so many digits after the second; the infinities are text there."""

    def read(text: str) -> str:
        found = _moment(text)
        if found is None:
            return text
        year, month, day, us = found
        sign = "-" if year < 0 else "+" if year > 9999 else ""
        seconds, fraction = divmod(us, 1_000_000)
        behind = f".{fraction:06}"[: digits + 1] if digits else ""
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{sign}{abs(year):04}-{month:02}-{day:02}T{clock}{behind}Z"

    return read


def zoned_time(text: str) -> str:
    """`io.debezium.time.ZonedTime`: in UTC."""
    found = _ZONED.fullmatch(text)
    if found is None:
        return text
    clock, sign, hours, minutes, seconds = found.groups()
    offset_us = ((int(hours) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)) * 1_000_000
    us = (clock_us(clock) + (offset_us if sign == "-" else -offset_us)) % _DAY_US
    whole, fraction = divmod(us, 1_000_000)
    behind = f".{fraction:06}".rstrip("0") if fraction else ""
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{behind}Z"


def interval_us(text: str) -> int | None:
    """`io.debezium.time.MicroDuration`, of an interval in the style `postgres` or `iso_8601`."""
    if text in _INFINITE_US:
        return _MOST if text == "infinity" else -_MOST - 1
    if (found := _ISO_INTERVAL.fullmatch(text)) and len(text) > 1:
        years, months, day_count, hours, minutes, seconds = (part or "0" for part in found.groups())
        us = (int(hours) * 60 + int(minutes)) * 60_000_000 + _seconds_us(seconds)
    elif text and (found := _INTERVAL.fullmatch(text)):
        years, months, day_count, sign, hours, minutes, seconds = (part or "0" for part in found.groups())
        us = (int(hours) * 60 + int(minutes)) * 60_000_000 + _seconds_us(seconds)
        us = -us if sign == "-" else us
    else:
        return None
    total = (int(years) * 12 + int(months)) * _MONTH_US + int(day_count) * _DAY_US + us
    return max(-_MOST - 1, min(_MOST, total))


def _seconds_us(text: str) -> int:
    whole, _, fraction = text.removeprefix("-").partition(".")
    us = int(whole or "0") * 1_000_000 + int(fraction[:6].ljust(6, "0"))
    return -us if text.startswith("-") else us
