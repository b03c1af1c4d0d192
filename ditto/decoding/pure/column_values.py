"""PostgreSQL's text of a value as what msgspec encodes, in plain Python. Same results as `_values` and `_scalars`."""

from __future__ import annotations

import re
from base64 import b64encode
from types import MappingProxyType
from typing import Any, Final

from msgspec import Raw
from msgspec.json import Encoder

from ditto.decoding import column_kinds

_INT: Final = re.compile(rb"-?[0-9]{1,19}")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_HEX: Final = re.compile(rb"\\x((?:[0-9a-fA-F]{2})*)")
_QUOTED: Final = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_PAIR: Final = re.compile(_QUOTED + b"=>(?:NULL|" + _QUOTED + rb")(?:, (?=.)|\Z)", re.DOTALL)
_ELEMENT: Final = re.compile(_QUOTED, re.DOTALL)
_BARE: Final = MappingProxyType({0x2C: re.compile(rb'[^{}"\\,]+'), 0x3B: re.compile(rb'[^{}"\\;]+')})
"""By delimiter."""
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_MAX_DIMENSIONS: Final = 6

_encode: Final = Encoder().encode


def convert(data: bytes, kind: int) -> Any:
    """PostgreSQL's text of one value as what msgspec encodes. What does not fit its kind stays text."""
    if kind == column_kinds.TEXT:
        return data.decode()
    if kind == column_kinds.INT:
        if _INT.fullmatch(data) and -(1 << 63) <= (number := int(data)) < 1 << 63:
            return number
    elif kind == column_kinds.BOOL:
        if data == b"t":
            return True
        if data == b"f":
            return False
    elif kind == column_kinds.FLOAT:
        if _NUMBER.fullmatch(data):
            return Raw(data)
    elif kind == column_kinds.JSON:
        if data:
            data.decode()  # what is embedded has to be UTF-8 too: a database in SQL_ASCII sends any bytes
            return Raw(data)
    elif kind == column_kinds.TIMESTAMP:
        if data.isascii() and data.count(b" ") == 1 and data[-1:].isdigit():
            return data.replace(b" ", b"T").decode()
    elif kind == column_kinds.TIMESTAMPTZ:
        if data.isascii() and data.count(b" ") == 1 and data.endswith(b"+00"):
            return data[:-3].replace(b" ", b"T").decode() + "Z"
    elif kind == column_kinds.BYTEA:
        if match := _HEX.fullmatch(data):
            return b64encode(bytes.fromhex(match[1].decode())).decode()
    elif kind == column_kinds.TIMESTAMP_UTC:
        if data.isascii() and data.count(b" ") == 1 and data[-1:].isdigit():
            return data.replace(b" ", b"T").decode() + "Z"
    elif kind == column_kinds.CHAR:
        return _char(data)
    elif kind == column_kinds.HSTORE:
        pairs = _read_hstore(data)
        if pairs is not None:
            return pairs
    else:
        delimiter = 0x3B if kind & column_kinds.ARRAY_SEMICOLON else 0x2C
        try:
            return Raw(_encode(_ArrayReader(data, kind & column_kinds.ELEMENT, delimiter).read()))
        except _NotPlain:
            pass
    return data.decode()


def is_json_null(data: bytes) -> bool:
    """Whether a value of type json or jsonb is JSON's null, which embedded would look like SQL's NULL."""
    return len(data) >= 4 and data.strip(b" \t\r\n") == b"null"


def _char(data: bytes) -> str:
    r"""A value of type "char", or the text of an array of them.

    Before 15 a byte from 128 on comes as it is, which is no UTF-8; from then on as `\310`, in an array as `"\\310"`.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        escape = r"\%o" if len(data) == 1 else r'"\\%o"'
        return "".join(chr(byte) if byte < 0x80 else escape % byte for byte in data)


def _read_hstore(data: bytes) -> Raw | None:
    """`"a"=>"1", "b"=>NULL` as hstore writes it; None where it is something else."""
    pairs: list[bytes] = []
    pos = 0
    while pos < len(data):
        match = _PAIR.match(data, pos)
        if match is None:
            return None
        key, value = (None if text is None else _unescaped(text).decode() for text in match.groups())
        pairs.append(_encode(key) + b":" + _encode(value))
        pos = match.end()
    return Raw(b"{%b}" % b",".join(pairs))


def _unescaped(text: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", text) if b"\\" in text else text


class _NotPlain(Exception):
    """The text is no plain literal, or JSON could not tell what it holds; it stays text.

    Not plain are bounds of its own (`[0:2]={…}`), which JSON's arrays do not have. In arrays of JSON, a document that
    is null would read as NULL, and one that is a list as another dimension.
    """


class _ArrayReader:
    """Reads an array literal: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO."""

    def __init__(self, data: bytes, kind: int, delimiter: int) -> None:
        self._data = data
        self._pos = 0
        self._kind = kind
        self._delimiter = delimiter
        self._bare_text = _BARE[delimiter]

    def read(self) -> list[Any]:
        array = self._array(1)
        if self._pos != len(self._data):
            raise _NotPlain
        return array

    def _peek(self) -> int:
        if self._pos >= len(self._data):
            raise _NotPlain
        return self._data[self._pos]

    def _array(self, depth: int) -> list[Any]:
        if depth > _MAX_DIMENSIONS or self._peek() != 0x7B:
            raise _NotPlain
        self._pos += 1
        items: list[Any] = []
        if self._peek() == 0x7D:
            self._pos += 1
            return items
        while True:
            head = self._peek()
            if head == 0x7B:
                if self._kind == column_kinds.JSON:
                    raise _NotPlain
                items.append(self._array(depth + 1))
            elif head == 0x22:
                items.append(self._quoted())
            else:
                items.append(self._bare())
            mark = self._peek()
            self._pos += 1
            if mark == 0x7D:
                return items
            if mark != self._delimiter:
                raise _NotPlain

    def _quoted(self) -> Any:
        match = _ELEMENT.match(self._data, self._pos)
        if match is None:
            raise _NotPlain
        self._pos = match.end()
        return self._element(_unescaped(match[1]))

    def _bare(self) -> Any:
        match = self._bare_text.match(self._data, self._pos)
        if match is None:
            raise _NotPlain
        self._pos = match.end()
        data = match[0]
        return None if data == b"NULL" else self._element(data)

    def _element(self, data: bytes) -> Any:
        if self._kind == column_kinds.JSON and is_json_null(data):
            raise _NotPlain
        return convert(data, self._kind)
