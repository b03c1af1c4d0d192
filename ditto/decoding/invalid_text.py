"""What to say of a row whose text is not UTF-8: looked into only when there is one, by both decoders."""

from __future__ import annotations

from collections.abc import Sequence

from ditto.decoding.column_kinds import CHAR, ELEMENT, SKIP
from ditto.decoding.pure.cursor import Cursor
from ditto.errors import DecodeError
from ditto.hints import NOT_UTF8


def not_utf8(change: bytes, names: Sequence[str], kinds: Sequence[int], *, relation: str) -> DecodeError:
    """The error that names the column, never the text.

    `change` is an Insert, Update or Delete after the relation's OID; `names` and `kinds` are those of the columns.
    """
    column = _column(change, names, kinds)
    where = "" if column is None else f" in the column {column}"
    context = {"column": column} if column else {}
    return DecodeError(f"text that is not UTF-8{where}", hint=NOT_UTF8, relation=relation, **context)


def _column(change: bytes, names: Sequence[str], kinds: Sequence[int]) -> str | None:
    left_out = None  # such a column is at fault where no other one is: a rule reads it
    cursor = Cursor(change)
    try:
        while cursor.pos < cursor.end:
            cursor.u8()  # K, O or N
            for index in range(cursor.u16()):
                if cursor.u8() != 0x74:  # t: nothing else has text
                    continue
                text = cursor.take(cursor.u32())
                if kinds[index] & ELEMENT == CHAR:  # any byte will do
                    continue
                try:
                    text.decode()
                except UnicodeDecodeError:
                    if kinds[index] != SKIP:
                        return names[index]
                    left_out = names[index]
    except (DecodeError, IndexError):
        pass  # it has another fault as well
    return left_out
