"""Timestamps and durations, in nanoseconds, as CEL and PostgreSQL write them.

Both are integers, with classes of their own so that a value says what it is. PostgreSQL has timestamps that CEL has
not: before the year 1, after 9999, and infinity. They are compared like all others, and are an error in anything else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from ditto.routing.conditions.errors import Failure

SECOND: Final = 1_000_000_000
_DAY: Final = 86_400 * SECOND
_INFINITE: Final = 10**40
"""Further away than anything that PostgreSQL can write."""


class Timestamp(int):
    """Nanoseconds since 1970-01-01 UTC."""

    __slots__ = ()


class Duration(int):
    """Nanoseconds."""

    __slots__ = ()


MIN_TIMESTAMP: Final = Timestamp(-62_135_596_800 * SECOND)
"""0001-01-01T00:00:00Z."""
MAX_TIMESTAMP: Final = Timestamp(253_402_300_800 * SECOND - 1)
"""9999-12-31T23:59:59.999999999Z."""
_MIN_INT64: Final = -(1 << 63)
_MAX_INT64: Final = (1 << 63) - 1

_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_SQL_TIMESTAMP: Final = re.compile(
    r"(\d{4,6})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:\+00)?)?( BC)?", re.ASCII
)
_DURATION: Final = re.compile(r"[+-]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|m|s|us|ns))+)", re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d*)(?:\.(\d*))?(h|ms|m|s|us|ns)", re.ASCII)
_UNITS: Final = {"h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}
_MAX_DURATION: Final = 315_576_000_001 * SECOND - 1

_SQL_INTERVAL: Final = re.compile(
    r"(?:([+-]?\d+) years? ?)?(?:([+-]?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?"
    r"(?:([+-])?(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?",
    re.ASCII,
)
_ISO_INTERVAL: Final = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d{1,6}))?S)?)?", re.ASCII
)

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 -- UTC
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH_DAY: Final = 719_163
"""The proleptic Gregorian ordinal of 1970-01-01."""
_DAYS_OF_400_YEARS: Final = 146_097


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339, as `timestamp()` takes it."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise Failure("timestamp() got a text that is not like 2024-12-31T23:59:59Z")
    moment, fraction, sign, hours, minutes = match.groups()
    leap = moment.endswith(":60")
    try:
        found = datetime.fromisoformat(moment[:-2] + "59" if leap else moment).replace(tzinfo=UTC)
    except ValueError:
        raise Failure("timestamp() got a date or a time that does not exist") from None
    seconds = int((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) + leap
    if sign is not None:
        if int(hours) > 23 or int(minutes) > 59:
            raise Failure("timestamp() got a time zone that does not exist")
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    return in_range(seconds * SECOND + (0 if leap else int((fraction or "").ljust(9, "0"))))


def in_range(nanoseconds: int) -> Timestamp:
    """A timestamp that CEL has, or Failure."""
    if MIN_TIMESTAMP <= nanoseconds <= MAX_TIMESTAMP:
        return Timestamp(nanoseconds)
    raise Failure("a timestamp is not between the years 1 and 9999")


def short(nanoseconds: int) -> Duration:
    """A duration that fits into 64 bits, as all must from which something is computed; Failure otherwise."""
    if _MIN_INT64 <= nanoseconds <= _MAX_INT64:
        return Duration(nanoseconds)
    raise Failure("a duration is longer than 292 years")


def read_timestamp(text: str) -> Timestamp:
    """PostgreSQL's text of a date, a timestamp or a timestamptz in UTC. Without a zone it is taken as UTC."""
    if text[4:5] == "-":
        try:
            since = datetime.fromisoformat(text.removesuffix("+00")) - _EPOCH
        except (ValueError, TypeError):
            pass  # before the year 1, or no timestamp at all
        else:
            return Timestamp(since // _MICROSECOND * 1000)
    if (infinite := _infinity(text)) is not None:
        return Timestamp(infinite)
    match = _SQL_TIMESTAMP.fullmatch(text)
    if match is None:
        raise Failure("a timestamp does not have PostgreSQL's form")
    year, month, day, hour, minute, second, fraction, before_christ = match.groups()
    era, year_of_era = divmod(1 - int(year) if before_christ else int(year), 400)
    try:
        ordinal = datetime(year_of_era + 400, int(month), int(day), tzinfo=UTC).toordinal()
    except ValueError:
        raise Failure("a timestamp does not have PostgreSQL's form") from None
    days = ordinal - _EPOCH_DAY + (era - 1) * _DAYS_OF_400_YEARS
    seconds = days * 86_400
    if hour is None:
        return Timestamp(seconds * SECOND)
    seconds += int(hour) * 3600 + int(minute) * 60 + int(second)
    return Timestamp(seconds * SECOND + (int(fraction.ljust(9, "0")) if fraction else 0))


def parse_duration(text: str) -> Duration:
    """`1h30m`, `1.5s`, as `duration()` takes it."""
    if _DURATION.fullmatch(text) is None:
        raise Failure("duration() got a text that is not like 1h30m or 1.5s")
    total = 0
    for whole, fraction, unit in _DURATION_PART.findall(text):
        size = _UNITS[unit]
        total += int(whole or 0) * size + (int(fraction) * size // 10 ** len(fraction) if fraction else 0)
    if total > _MAX_DURATION:
        raise Failure("duration() got more than 10,000 years")
    return Duration(-total if text[0] == "-" else total)


def read_interval(text: str) -> Duration:
    """PostgreSQL's text of an interval, in the styles postgres and iso_8601. A day has 24 hours, a month no length."""
    if (infinite := _infinity(text)) is not None:
        return Duration(infinite)
    if text.startswith("P"):
        match = _ISO_INTERVAL.fullmatch(text)
        if match is not None:
            years, months, days, hours, minutes, sign, seconds, fraction = match.groups()
            clock = int(hours or 0) * 3600 + int(minutes or 0) * 60
            second = int(seconds or 0) * SECOND + int((fraction or "").ljust(9, "0"))
            rest = clock * SECOND + (-second if sign else second)
    else:
        match = _SQL_INTERVAL.fullmatch(text)
        if match is not None:
            years, months, days, sign, hours, minutes, seconds, fraction = match.groups()
            clock = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
            rest = clock * SECOND + int((fraction or "").ljust(9, "0"))
            rest = -rest if sign == "-" else rest
    if match is None or not text:
        raise Failure("an interval does not have PostgreSQL's form")
    if int(years or 0) or int(months or 0):
        raise Failure("an interval has months or years, which have no fixed length")
    return Duration(int(days or 0) * _DAY + rest)


def _infinity(text: str) -> int | None:
    if text == "infinity":
        return _INFINITE
    return -_INFINITE if text == "-infinity" else None


def timestamp_text(value: Timestamp) -> str:
    """As `string()` writes it."""
    in_range(value)
    seconds, rest = divmod(value, SECOND)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment.replace(tzinfo=None).isoformat()}{_fraction(rest)}Z"


def duration_text(value: Duration) -> str:
    """As `string()` writes it."""
    seconds, rest = divmod(abs(short(value)), SECOND)
    return f"{'-' if value < 0 else ''}{seconds}{_fraction(rest)}s"


def _fraction(nanoseconds: int) -> str:
    """Nothing, or a point and 3, 6 or 9 digits."""
    digits = f"{nanoseconds:09d}"
    for size in (0, 3, 6):
        if not digits[size:].strip("0"):
            return f".{digits[:size]}" if size else ""
    return f".{digits}"


def zone(name: str) -> tzinfo:
    """A time zone by its name in the database of zones, or `+02:00`. Raises ValueError where there is none."""
    if match := re.fullmatch(r"([+-]?)(\d\d):(\d\d)", name, re.ASCII):
        sign, hours, minutes = match.groups()
        if int(hours) > 14 or int(minutes) > 59:
            raise ValueError(name)
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-offset if sign == "-" else offset)
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, KeyError, ValueError):
        raise ValueError(name) from None


def local(value: Timestamp, where: tzinfo = UTC) -> datetime:
    """For the getters; without what is smaller than a microsecond."""
    in_range(value)
    found = _EPOCH_UTC + timedelta(microseconds=value // 1000)
    if where is UTC:
        return found
    try:
        return found.astimezone(where)
    except OverflowError:
        raise Failure("a timestamp is not between the years 1 and 9999") from None
