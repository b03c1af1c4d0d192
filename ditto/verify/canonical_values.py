"""One form for each value, from an event or from the text that PostgreSQL writes, so that they compare.

    column = Column(name="price", schema="pg_catalog", type="numeric")
    column.event_reader(Types())(msgspec.Raw(b'"10.50"'), False) == column.text_reader("10.50")

Nothing here asks PostgreSQL to read a value: input functions, casts and constraints of domains are code that the owner
of a type may have written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final

from ditto.verify.inverse import form, input_text

if TYPE_CHECKING:
    import msgspec

    from ditto.config import Types

Value = Hashable
"""Text, None for NULL, or what an array, an hstore or an interval is made of; equal values are equal."""

_PAIR: Final = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:NULL|"((?:[^"\\]|\\.)*)")', re.DOTALL)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BOUNDS: Final = re.compile(r"(?:\[-?\d+:-?\d+\])+=")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_INTERVAL: Final = re.compile(
    r"(?:([+-]?\d+) years? ?)?(?:([+-]?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?(?:([+-]?)(\d+):(\d\d):(\d\d(?:\.\d+)?))?"
)
_ISO_INTERVAL: Final = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?[\d.]+)S)?)?"
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A published column; its type is the one below its domains."""

    name: str
    schema: str
    """Of the type, or of an array's elements."""
    type: str
    """The name, or that of an array's elements."""
    is_array: bool = False
    delimiter: str = ","
    """Between an array's elements."""

    def event_reader(self, types: Types) -> Callable[[msgspec.Raw, bool], Value]:
        """Reads a value of an event that was written with these options; the flag is for JSON's null."""
        column_form, read = form(self.type_name, types), self.text_reader

        def of_event(value: msgspec.Raw, is_json_null: bool) -> Value:
            text = input_text(value, column_form, is_json_null=is_json_null)
            return None if text is None else read(text)

        return of_event

    @property
    def of_null(self) -> Value:
        """What an event's value for NULL reads as."""
        return None

    @cached_property
    def type_name(self) -> str:
        """As in descriptions of tables: `jsonb[]`, `public.mood`."""
        name = self.type if self.schema == "pg_catalog" else f"{self.schema}.{self.type}"
        return f"{name}[]" if self.is_array else name

    @cached_property
    def text_reader(self) -> Callable[[str], Value]:
        """Reads the text that PostgreSQL writes."""
        element = _reader(self.schema, self.type)
        if not self.is_array:
            return element
        return lambda text: _array(text, self.delimiter, element)


def _reader(schema: str, name: str) -> Callable[[str], Value]:
    if schema == "pg_catalog":
        return _BUILT_IN.get(name, str)
    return _hstore if name == "hstore" else str


def _bool(text: str) -> str:
    return {"true": "t", "false": "f"}.get(text, text)


def _char(text: str) -> str:
    r"""A byte from 128 on as `\310`, which PostgreSQL writes from 15 on. Before, it is no text, read as a surrogate."""
    is_byte = len(text) == 1 and 0xDC80 <= ord(text) <= 0xDCFF
    return f"\\{ord(text) - 0xDC00:o}" if is_byte else text


def _timestamp(text: str) -> str:
    """With and without a zone, which is UTC: a column can become the other one without a rewrite of its rows."""
    return text.removesuffix("Z").removesuffix("+00").replace("T", " ")


def _float(text: str) -> str:
    """The shortest text of the same number: formats differ in when they write an exponent."""
    try:
        return repr(float(text))
    except ValueError:
        return text


def _json(text: str) -> str:
    """Line breaks, which JSON has between its tokens alone, are spaces where events are lines, as in a file."""
    return text.replace("\n", " ").replace("\r", " ")


def _interval(text: str) -> Value:
    """Months, days, microseconds: one option changes how intervals are written."""
    if (found := _ISO_INTERVAL.fullmatch(text)) and len(text) > 1:
        years, months, days, hours, minutes, seconds = (part or "0" for part in found.groups())
        clock = (int(hours) * 60 + int(minutes)) * 60_000_000 + _micros(seconds)
    elif text and (found := _INTERVAL.fullmatch(text)):
        years, months, days, sign, hours, minutes, seconds = (part or "0" for part in found.groups())
        clock = (int(hours) * 60 + int(minutes)) * 60_000_000 + _micros(seconds)
        clock = -clock if sign == "-" else clock
    else:
        return text
    return int(years) * 12 + int(months), int(days), clock


def _micros(seconds: str) -> int:
    whole, _, fraction = seconds.partition(".")
    micros = abs(int(whole)) * 1_000_000 + int(fraction.ljust(6, "0"))
    return -micros if whole.startswith("-") else micros


def _hstore(text: str) -> Value:
    pairs = [(_unescaped(pair[1]), None if pair[2] is None else _unescaped(pair[2])) for pair in _PAIR.finditer(text)]
    return frozenset(pairs) if pairs or not text else text


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _array(literal: str, delimiter: str, read: Callable[[str], Value]) -> Value:
    """Bounds, as text, and nested tuples; the text itself where it is no array literal.

    https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    """
    match = _BOUNDS.match(literal)
    bounds, at = (match[0], match.end()) if match else ("", 0)
    found: list[list[Value]] = [[]]
    bare = _bare(delimiter)
    while at < len(literal):
        sign = literal[at]
        if sign == "{":
            found.append([])
        elif sign == "}":
            if len(found) == 1:
                return literal
            items = tuple(found.pop())
            found[-1].append(items)
        elif sign == '"' and (match := _QUOTED.match(literal, at)):
            found[-1].append(read(_unescaped(match[1])))
            at = match.end() - 1
        elif sign != delimiter:
            if not (match := bare.match(literal, at)):
                return literal
            text = match[1]
            found[-1].append(None if text == "NULL" else read(_unescaped(text)))
            at = match.end() - 1
        at += 1
    return (bounds, found[0][0]) if len(found) == 1 and len(found[0]) == 1 else literal


@cache
def _bare(delimiter: str) -> re.Pattern[str]:
    """An element without quotes."""
    return re.compile(rf'((?:[^"\\{{}}{re.escape(delimiter)}]|\\.)+)', re.DOTALL)


_BUILT_IN: Final[dict[str, Callable[[str], Value]]] = {
    "json": _json,
    "bool": _bool,
    "char": _char,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
    "interval": _interval,
    "float4": _float,
    "float8": _float,
}
