"""PostgreSQL's texts as the values of a condition: quickly as they usually are, and by the functions in Python else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ditto.decoding.choose import IMPL
from ditto.routing.conditions import array_literals, instants
from ditto.routing.conditions.errors import Failure


def pure_read_json(text: str) -> Any:
    """JSON's numbers are an int where they have neither point nor exponent and fit into 64 bits, else a double."""
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        raise Failure("a JSON value cannot be read") from None


def pure_membership(element: str, delimiter: str) -> Callable[[str], bool]:
    """Whether PostgreSQL's text of an array has an element with this text; raises as `read_array` does."""

    def has(text: str) -> bool:
        return element in array_literals.read_array(text, str, delimiter)

    return has


def _json_integer(text: str) -> int | float:
    if len(text) < 19:
        return int(text)
    number = int(text) if len(text) < 21 else None
    return number if number is not None and -(1 << 63) <= number < 1 << 63 else float(text)


def _no_json(_text: str) -> float:
    raise ValueError


_JSON: Final = json.JSONDecoder(parse_int=_json_integer, parse_constant=_no_json)

if TYPE_CHECKING or IMPL == "c":
    from ditto.routing.conditions import _readers

    _decode: Final = msgspec.json.Decoder().decode

    def read_timestamp(text: str) -> instants.Timestamp:
        """See `instants.read_timestamp`."""
        found = _readers.microseconds(text)
        return instants.read_timestamp(text) if found is None else instants.Timestamp(found * 1000)

    def read_interval(text: str) -> instants.Duration:
        """See `instants.read_interval`."""
        found = _readers.interval_microseconds(text)
        return instants.read_interval(text) if found is None else instants.Duration(found * 1000)

    def read_json(text: str) -> Any:
        """See `pure_read_json`: msgspec's integers are larger, and it refuses a little of what PostgreSQL takes."""
        if not _readers.has_long_number(text):
            try:
                return _decode(text)
            except (ValueError, RecursionError):
                pass
        return pure_read_json(text)

    def read_array(text: str, read: Callable[[str], Any], delimiter: str) -> list[Any]:
        """See `array_literals.read_array`."""
        found = _readers.array(text, None if read is str else read, ord(delimiter))
        return array_literals.read_array(text, read, delimiter) if found is None else found

    def membership(element: str, delimiter: str) -> Callable[[str], bool]:
        """See `pure_membership`."""
        return _readers.Membership(element, ord(delimiter), pure_membership(element, delimiter)).test

else:
    read_timestamp, read_interval = instants.read_timestamp, instants.read_interval
    read_json, read_array = pure_read_json, array_literals.read_array
    membership = pure_membership

__all__ = [
    "membership",
    "pure_membership",
    "pure_read_json",
    "read_array",
    "read_interval",
    "read_json",
    "read_timestamp",
]
