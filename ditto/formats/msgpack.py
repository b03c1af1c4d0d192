"""Ditto's event in MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md).

The same fields in the same order. What differs are values for which MessagePack has a place and JSON has none: all
floats are floats, NaN and the infinities too, and `bytea` is binary. `json` and `jsonb` stay PostgreSQL's text, because
a number of theirs may have more digits than MessagePack's have, and so does `numeric`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from ditto.decoding.choose import IMPL, convert
from ditto.decoding.column_kinds import ARRAY, ARRAY_SEMICOLON, BYTEA, CALL, ELEMENT, FLOAT, HSTORE, JSON, TEXT
from ditto.decoding.messages import Relation
from ditto.formats.array_texts import read_each, read_list
from ditto.formats.base import NONE, KeyedLayout, Layout, Rows
from ditto.formats.msgpack_events import encode_events
from ditto.formats.own_lines import own_lines_of
from ditto.formats.payloads import Payloads

CONTENT_TYPE: Final = "application/msgpack"

Function: TypeAlias = Callable[[str | None], Any]
Read: TypeAlias = Callable[[str], Any]

_CONTENT_TYPE_LINE: Final = f"Content-Type: {CONTENT_TYPE}\r\n".encode()
_NUMERIC: Final = frozenset({1700, 1231})
_pairs = msgspec.json.Decoder(dict[str, str | None])


class MessagePack:
    """A format (see `base.TableFormat`)."""

    needs_types = False

    def layout(
        self,
        relation: Relation,
        usual: bytes,
        *,
        skipped: Set[int] = NONE,
        masked: Set[int] = NONE,
        labels: Mapping[int, Sequence[str]] = {},
    ) -> Layout:
        """See `base.TableFormat`."""
        del labels
        kinds, functions = bytearray(usual), list[Function | None]()
        for index, column in enumerate(relation.columns):
            function = None
            if index not in skipped and index not in masked:
                kinds[index], function = conversion(usual[index], is_numeric=column.type_oid in _NUMERIC)
            functions.append(function)
        names = [column.name for column in relation.columns]
        keys = tuple(map(msgspec.msgpack.encode, names))
        return KeyedLayout(self, bytes(kinds), tuple(functions), tuple(map(sys.intern, names)), keys)

    def encode(self, rows: Rows) -> tuple[Payloads, list[bytes] | None]:
        """See `base.TableFormat`."""
        data, ends = encode_events(rows.changes, rows.layouts)
        return Payloads(data, ends, 0), own_lines_of(rows.changes, _CONTENT_TYPE_LINE)


def conversion(usual: int, *, is_numeric: bool) -> tuple[int, Function | None]:
    """Kind and function of a column, out of the kind that it has in JSON; numeric is exact as text alone."""
    if is_numeric:
        return (CALL, _array(ARRAY | TEXT, None)) if usual & ARRAY else (TEXT, None)
    scalar = _SCALARS.get(usual & ELEMENT)
    if usual & (ARRAY | ARRAY_SEMICOLON):
        return CALL, _array(usual & ~ELEMENT | (usual & ELEMENT if scalar is None else TEXT), scalar)
    if usual == JSON:
        return TEXT, None
    if scalar is None:
        return usual, None
    return CALL, _float_function() if usual == FLOAT else pure_value(scalar)


def pure_value(read: Read) -> Function:
    """A scalar's function, in plain Python."""
    return lambda text: None if text is None else read(text)


def pure_array(kind: int, read: Read | None) -> Function:
    """An array's, in plain Python; `read` makes the value of each element's text, where it is not None."""

    def convert_array(text: str | None) -> Any:
        found = None if text is None else read_list(text, kind)
        if found is None:
            return text
        return found if read is None else read_each(found, read)

    return convert_array


def _bytes(text: str) -> bytes | str:
    try:
        return bytes.fromhex(text[2:]) if text.startswith("\\x") else text
    except ValueError:
        return text


def pure_float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _hstore(text: str) -> dict[str, str | None] | str:
    found = convert(text.encode(), HSTORE)
    return _pairs.decode(found) if isinstance(found, msgspec.Raw) else text


_SCALARS: Final[Mapping[int, Callable[[str], Any]]] = {FLOAT: pure_float, BYTEA: _bytes, HSTORE: _hstore, JSON: str}

if TYPE_CHECKING or IMPL == "c":
    from ditto.formats._msgpack_values import Array, Float

    def _float_function() -> Function:
        return Float(pure_float)

    def _array(kind: int, read: Read | None) -> Function:
        return Array(kind, None if read is str else read)

else:
    _array = pure_array

    def _float_function() -> Function:
        return pure_value(pure_float)
