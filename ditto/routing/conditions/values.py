"""What CEL's operators and functions do with values: https://github.com/google/cel-spec/blob/master/doc/langdef.md.

Integers have 64 bits: what does not fit is a Failure. `numeric` is exact; its NaN is compared like that of a double.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, InvalidOperation
from typing import Any, Final

from ditto.routing.conditions.errors import Failure
from ditto.routing.conditions.instants import SECOND, Timestamp
from ditto.routing.conditions.value_types import NAMES

_MIN_INT: Final = -(1 << 63)
_MAX_INT: Final = (1 << 63) - 1
_NUMBERS: Final = frozenset({int, float, Decimal})
_INT_TEXT: Final = re.compile(r"[+-]?\d+", re.ASCII)
_DOUBLE_TEXT: Final = re.compile(
    r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE
)
_TRUE: Final = frozenset({"true", "True", "TRUE", "t", "1"})
_FALSE: Final = frozenset({"false", "False", "FALSE", "f", "0"})
_EXACT: Final = Context(prec=1_000_000, Emin=-9_999_999, Emax=9_999_999)
"""Longer than sums and products of PostgreSQL's numbers; raises where one is longer still."""
for _signal in _EXACT.traps:
    _EXACT.traps[_signal] = _signal.__name__ in {"Inexact", "Overflow", "Underflow"}


def int64(value: int) -> int:
    """The same number where it has 64 bits."""
    if _MIN_INT <= value <= _MAX_INT:
        return value
    raise Failure("an integer does not fit into 64 bits")


def divide(one: int, other: int) -> int:
    """Rounded towards zero."""
    if other == 0:
        raise Failure("an integer is divided by zero")
    quotient = abs(one) // abs(other)
    return int64(quotient if (one < 0) == (other < 0) else -quotient)


def remainder(one: int, other: int) -> int:
    """What `divide` leaves: with the sign of the first."""
    if other == 0:
        raise Failure("an integer is divided by zero")
    if other == -1:
        int64(-one)
    rest = abs(one) % abs(other)
    return -rest if one < 0 else rest


def divide_doubles(one: float, other: float) -> float:
    """As the hardware does."""
    if other:
        return one / other
    if one == 0 or math.isnan(one) or math.isnan(other):
        return math.nan
    return math.copysign(math.inf, one) * math.copysign(1.0, other)


def numeric_lt(one: Any, other: Any) -> bool:
    """`one < other` where one of them is a numeric; False with NaN."""
    try:
        return bool(one < other)
    except InvalidOperation:
        return False


def numeric_le(one: Any, other: Any) -> bool:
    """`one <= other`, the same."""
    try:
        return bool(one <= other)
    except InvalidOperation:
        return False


def exactly(operation: str, one: Decimal | int, other: Decimal | int) -> Decimal:
    """A sum, difference or product of numerics, with all its digits."""
    work: Callable[[Decimal | int, Decimal | int], Decimal] = getattr(_EXACT, operation)
    try:
        return work(one, other)
    except DecimalException:
        raise Failure("a numeric has more than a million digits") from None


def equal(one: Any, other: Any) -> bool:
    """`==` of values whose types are known only now; of different types it is false, but numbers are compared."""
    kind = type(one)
    if kind is not type(other):
        if kind in _NUMBERS and type(other) in _NUMBERS:
            if kind is int and type(other) is float:
                return float(one) == other
            if kind is float and type(other) is int:
                return bool(one == float(other))
            return bool(one == other)
        return False
    if kind is list:
        return len(one) == len(other) and all(map(equal, one, other))
    if kind is dict:
        return len(one) == len(other) and all(
            (mine := find(other, key)) is not _NOTHING and equal(value, mine) for key, value in one.items()
        )
    return bool(one == other)


_NOTHING: Final = object()


def find(entries: dict[Any, Any], key: Any) -> Any:
    """A map's value, or `_NOTHING`. Python takes True for 1, CEL does not; it takes 1.0 for 1."""
    kind = type(key)
    if kind is float:
        if not key.is_integer():
            return _NOTHING
        key, kind = int(key), int
    elif kind is not str and kind is not int and kind is not bool:
        return _NOTHING
    found = entries.get(key, _NOTHING)
    if found is not _NOTHING and kind is not str and not any(key == own and kind is type(own) for own in entries):
        return _NOTHING
    return found


def contains(items: Any, value: Any) -> bool:
    """`value in items`."""
    if type(items) is list:
        return any(equal(value, item) for item in items)
    if type(items) is not dict or type(value) not in {str, int, bool, float}:
        raise no_overload("in", value, items)
    return find(items, value) is not _NOTHING


def at(items: Any, index: Any) -> Any:
    """`items[index]`, and `items.index`."""
    if type(items) is dict:
        if (value := find(items, index)) is _NOTHING:
            raise Failure("a map has no such key")
        return value
    if type(items) is not list or (type(index) is not int and not (type(index) is float and index.is_integer())):
        raise no_overload("[]", items, index)
    if not 0 <= index < len(items):
        raise Failure("a list has no such index")
    return items[int(index)]


def at_key(items: Any, key: str) -> Any:
    """The same for a text."""
    if type(items) is not dict:
        raise no_overload("[]", items, key)
    if (value := items.get(key, _NOTHING)) is _NOTHING:
        raise Failure("a map has no such key")
    return value


def has_key(entries: Any, key: str) -> bool:
    """`has(entries.key)`."""
    if type(entries) is not dict:
        raise no_overload("has", entries)
    return key in entries


def each(items: Any) -> list[Any]:
    """What a macro goes through: a list's items, or a map's keys."""
    if type(items) is list:
        return items
    if type(items) is dict:
        return list(items)
    raise Failure(f"a macro goes through a list or a map, and not through {NAMES[type(items)]}")


def as_map(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    """A map of the keys and values of an expression."""
    if any(type(key) not in {str, int, bool} for key in keys):  # one of JSON may be anything
        raise Failure("keys of maps are texts, integers and truth values")
    made = dict(zip(keys, values, strict=True))
    if len(made) < len(keys):
        raise Failure("a map has a key twice")
    return made


def no_overload(function: str, *arguments: Any) -> Failure:
    """There is no such function for these values; says their types."""
    name = function.strip("_") if function.startswith("_") or function.endswith("_") else function
    return Failure(f"{name} does not work with {' and '.join(NAMES[type(argument)] for argument in arguments)}")


def need_bool(value: Any) -> bool:
    """A truth value, or Failure."""
    if value is True or value is False:
        return value
    raise Failure(f"{NAMES[type(value)]} is neither true nor false")


def need_class(value: Any, wanted: type) -> Any:
    """A value of this class, or Failure: a sum with what is only known to be dyn may be a numeric."""
    if type(value) is wanted:
        return value
    raise Failure(f"a {NAMES[wanted]} is wanted, and there is a {NAMES[type(value)]}")


def int_of_double(value: float) -> int:
    """Without what is behind the point."""
    if _MIN_INT < value < _MAX_INT:
        return int(value)
    raise Failure("a double does not fit into 64 bits")


def int_of_numeric(value: Decimal) -> int:
    """The same."""
    if value.is_finite():
        return int64(int(value))
    raise Failure("a numeric does not fit into 64 bits")


def int_of_text(text: str) -> int:
    """Decimal digits."""
    stripped = text.strip(" \t\n\v\f\r")
    if _INT_TEXT.fullmatch(stripped) is None or len(stripped) > 4000:
        raise Failure("int() got a text that is no integer")
    return int64(int(stripped))


def double_of_text(text: str) -> float:
    """Decimal digits, inf, nan."""
    stripped = text.strip(" \t\n\v\f\r")
    if _DOUBLE_TEXT.fullmatch(stripped) is None:
        raise Failure("double() got a text that is no number")
    return float(stripped)


def bool_of_text(text: str) -> bool:
    """true, t, 1 and their opposites."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Failure("bool() got a text that is neither true nor false")


def text_of_double(value: float) -> str:
    """The fewest digits that give it again, from a million on and below 0.0001 with an exponent: `1e+06`."""
    if not math.isfinite(value):
        return str(value)
    exact = Decimal(repr(value)).normalize()
    if not value or -4 <= exact.adjusted() < 6:
        return format(exact, "f")
    sign, (first, *others), _ = exact.as_tuple()
    point = "." if others else ""
    return f"{'-' * sign}{first}{point}{''.join(map(str, others))}e{exact.adjusted():+03d}"


def text_of_bytes(value: bytes) -> str:
    """UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Failure("string() got bytes that are not UTF-8") from None


def bytes_of_text(value: str) -> bytes:
    """UTF-8."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Failure("a text has half of a surrogate pair") from None


def seconds_of(value: Timestamp) -> int:
    """`int()` of a timestamp."""
    return value // SECOND


def towards_zero(value: int, unit: int) -> int:
    """A duration in whole units."""
    whole = abs(value) // unit
    return -whole if value < 0 else whole


def need_text(value: Any) -> str:
    """A text, or Failure."""
    if type(value) is str:
        return value
    raise no_overload("matches", value)
