"""The columns of a row as they are sent, not converted, in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from struct import Struct
from typing import Final, Literal, NamedTuple

from ditto.decoding.pure.cursor import Cursor
from ditto.errors import DecodeError

_COUNT: Final = Struct("!H")
_TEXT: Final = Struct("!ci")


class _Mark(Enum):
    UNCHANGED = "u"


UNCHANGED: Final = _Mark.UNCHANGED
"""A TOASTed value that is not sent, because it did not change."""

Cell = bytes | None | Literal[_Mark.UNCHANGED]


class ChangedRow(NamedTuple):
    """What an Insert, an Update or a Delete sends."""

    tag: str
    old: list[Cell] | None
    """The old row, or its key with nulls beside it."""
    is_old_whole: bool
    new: list[Cell]
    """Empty for a Delete."""

    def old_key(self, columns: Sequence[int]) -> tuple[Cell, ...]:
        """The values of these columns before the change; of an Insert, the new ones."""
        row = self.new if self.old is None else self.old
        return tuple(row[column] for column in columns)

    def new_key(self, columns: Sequence[int]) -> tuple[Cell, ...]:
        """The values of these columns after the change."""
        return tuple(self.cell(column) if self.new[column] is UNCHANGED else self.new[column] for column in columns)

    def cell(self, column: int) -> Cell:
        """The column's value after the change, also where only the old row has it."""
        if self.new[column] is not UNCHANGED or self.old is None:
            return self.new[column]
        is_sent = self.is_old_whole or self.old[column] is not None
        return self.old[column] if is_sent else UNCHANGED

    @property
    def lacks_columns(self) -> bool:
        """Whether a value is not sent at all: neither with the new row nor with the old one."""
        return any(self.cell(column) is UNCHANGED for column in range(len(self.new)))


def read_change(message: bytes, column_count: int) -> ChangedRow:
    """An Insert, Update or Delete from its tag on."""
    cursor = Cursor(message)
    tag = chr(cursor.u8())
    cursor.u32()
    part = cursor.u8()
    is_old_whole = part == 0x4F
    old: list[Cell] | None = None
    new: list[Cell] = []
    if tag != "I" and part in b"KO":
        old = read_cells(cursor, column_count)
        part = 0x4E if tag == "D" else cursor.u8()
    elif tag == "D":
        raise _unknown_part(part)
    if part != 0x4E:
        raise _unknown_part(part)
    if tag != "D":
        new = read_cells(cursor, column_count)
    cursor.finish()
    return ChangedRow(tag, old, is_old_whole, new)


def _unknown_part(part: int) -> DecodeError:
    return DecodeError(f"unknown part of a change 0x{part:02X}")


def read_cells(cursor: Cursor, column_count: int) -> list[Cell]:
    """TupleData."""
    count = cursor.u16()
    if count != column_count:
        raise DecodeError(f"a row of {count} columns where the relation has {column_count}")
    cells: list[Cell] = []
    for _ in range(count):
        mark = cursor.u8()
        if mark == 0x74:  # t
            cells.append(bytes(cursor.take(cursor.i32())))
        elif mark == 0x6E:  # n
            cells.append(None)
        elif mark == 0x75:  # u
            cells.append(UNCHANGED)
        else:
            raise DecodeError(f"unknown column kind 0x{mark:02X}")
    return cells


def write_cells(cells: Sequence[Cell]) -> bytes:
    """The same as TupleData."""
    parts = [_COUNT.pack(len(cells))]
    for cell in cells:
        if cell is None:
            parts.append(b"n")
        elif cell is UNCHANGED:
            parts.append(b"u")
        else:
            parts += _TEXT.pack(b"t", len(cell)), cell
    return b"".join(parts)
