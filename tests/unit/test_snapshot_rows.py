"""Rows of a COPY, and the changes that are laid over them: on both implementations, and against a model of a table."""

from __future__ import annotations

import re
import resource
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.errors import DecodeError
from unit import wire
from unit.implementations import IMPLEMENTATIONS, Implementation, Rows
from unit.wire import UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEADER = 25
"""Bytes of CopyData before pgoutput's message."""
ESCAPED = {"\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\\": r"\\"}


def copy_line(cells: Sequence[wire.Cell]) -> bytes:
    """As COPY TO writes it: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS."""
    return b"\t".join(rb"\N" if cell is None else escaped(cell) for cell in cells) + b"\n"


def escaped(cell: wire.Cell) -> bytes:
    assert isinstance(cell, str | bytes)
    text = cell if isinstance(cell, str) else cell.decode("latin-1")
    written = re.sub(r"[\b\f\n\r\t\v\\]", lambda match: ESCAPED[match[0]], text)
    return written.encode() if isinstance(cell, str) else written.encode("latin-1")


def rows_of(impl: Implementation, *cells: Sequence[wire.Cell], column_count: int | None = None) -> Rows:
    rows = impl.make_rows(len(cells[0]) if column_count is None else column_count)
    for each in cells:
        rows.add(copy_line(each))
    return rows


def contents(rows: Rows) -> list[bytes]:
    found = [rows.row(index) for index in range(rows.count)]
    assert sum(len(row) for row in found) == rows.size
    return found


def messages(*frames: bytes) -> list[bytes]:
    return [frame[HEADER:] for frame in frames]


# ------------------------------------------------------------------------------------- COPY's text


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (b"1\ta\n", [b"1", b"a"]),
        (b"\t\n", [b"", b""]),
        (b"\\N\t\\N\n", [None, None]),
        (b"\\\\N\t\\\\.\n", [b"\\N", b"\\."]),
        (b"\\Nx\tx\\N\n", [b"Nx", b"xN"]),
        (b"\\b\\f\\n\\r\\t\\v\t\\\\\n", [b"\b\f\n\r\t\v", b"\\"]),
        (b"\\\\t\t\\\\\\t\n", [b"\\t", b"\\\t"]),
        (b"\\q\\\xff\t\xfe\n", [b"q\xff", b"\xfe"]),
        ("ä\tü\\n€\n".encode(), ["ä", "ü\n€"]),
        (b"N\t\\N\n", [b"N", None]),
    ],
)
def test_a_line_becomes_a_row(impl: Implementation, line: bytes, cells: wire.Row) -> None:
    rows = impl.make_rows(2)
    rows.add(line)
    assert contents(rows) == [wire.row(cells)]


def test_tables_of_one_column_of_none_and_of_many(impl: Implementation) -> None:
    assert contents(rows_of(impl, [""])) == [wire.row([""])]
    assert contents(rows_of(impl, [None])) == [wire.row([None])]
    assert contents(rows_of(impl, [], [])) == [wire.row([])] * 2
    wide: wire.Row = [str(number) if number % 3 else None for number in range(1600)]
    assert contents(rows_of(impl, wide, wide)) == [wire.row(wide)] * 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "does not end"),
        (b"1\t2", "does not end"),
        (b"1\n", "a row of 1 columns where the relation has 2"),
        (b"\n", "a row of 1 columns where the relation has 2"),
        (b"1\t2\t3\n", "a row of 3 columns where the relation has 2"),
        (b"1\thunter2\\\n", "ends with a backslash"),
        (b"hunter2\\\t2\n", "ends with a backslash"),
    ],
)
def test_other_lines_are_errors_that_quote_nothing(impl: Implementation, line: bytes, words: str) -> None:
    rows = rows_of(impl, ["1", "2"])
    with pytest.raises(DecodeError, match=words) as raised:
        rows.add(line)
    assert "hunter2" not in str(raised.value)
    assert contents(rows) == [wire.row(["1", "2"])]


def test_a_table_without_columns_has_no_text(impl: Implementation) -> None:
    with pytest.raises(DecodeError, match="a row of 1 columns where the relation has 0"):
        impl.make_rows(0).add(b"1\n")


bytes_of_text = st.binary(max_size=12).map(lambda data: data.replace(b"\0", b""))
cells_of_text = st.none() | bytes_of_text | st.sampled_from([b"\\N", b"\\.", b"\\", b"\t", b"\n"])


@given(st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(cells_of_text, min_size=width, max_size=width))))
def test_what_copy_writes_is_read_back(rows: list[wire.Row]) -> None:
    width = len(rows[0]) if rows else 1
    for impl in IMPLEMENTATIONS:
        assert contents(rows_of(impl, *rows, column_count=width)) == [wire.row(row) for row in rows]


@given(st.binary(max_size=30), st.integers(0, 3))
def test_any_bytes_give_the_same_on_both(line: bytes, width: int) -> None:
    found = []
    for impl in IMPLEMENTATIONS:
        rows = impl.make_rows(width)
        try:
            rows.add(line + b"\n")
            found.append((contents(rows), ""))
        except DecodeError as error:
            found.append(([], error.message))
    assert found[0] == found[1]


# ------------------------------------------------------------------------------------- keys and pieces


def test_a_key_is_the_text_of_its_columns_in_its_order(impl: Implementation) -> None:
    rows = rows_of(impl, ["1", "ä\n", None], ["2", "", "x"])
    assert rows.key(0, (1, 0)) == ["ä\n", "1"]
    assert rows.key(1, (0, 1)) == ["2", ""]
    assert rows.key(1, ()) == []


def test_a_key_without_a_value_or_without_text_is_an_error(impl: Implementation) -> None:
    rows = rows_of(impl, [b"hunter\xff2", None])
    with pytest.raises(DecodeError, match="a key that has a column without a value"):
        rows.key(0, (1,))
    with pytest.raises(DecodeError, match="not UTF-8 in a key") as raised:
        rows.key(0, (0,))
    assert "hunter" not in str(raised.value)
    assert raised.value.__suppress_context__
    for wrong in (2, -3):
        with pytest.raises(IndexError):
            rows.key(0, (wrong,))
    with pytest.raises(IndexError):
        rows.key(1, (0,))


def test_pieces_have_at_least_one_row(impl: Implementation) -> None:
    rows = rows_of(impl, *(["x" * size] for size in (10, 10, 500, 10, 10)))
    size = 2 + 5 + 10
    assert rows.piece(0, max_rows=99, max_bytes=1 << 20) == 5
    assert rows.piece(0, max_rows=2, max_bytes=1 << 20) == 2
    assert rows.piece(0, max_rows=99, max_bytes=2 * size) == 2
    assert rows.piece(0, max_rows=99, max_bytes=2 * size - 1) == 1
    assert rows.piece(2, max_rows=99, max_bytes=1) == 3
    assert rows.piece(5, max_rows=99, max_bytes=1) == 5


# ------------------------------------------------------------------------------------- overlay

OID = 7
KEY = (0,)


def laid_over(
    impl: Implementation, rows: Iterable[wire.Row], *frames: bytes, key: tuple[int, ...] = KEY
) -> list[bytes]:
    made = rows_of(impl, *rows)
    made.overlay(messages(*frames), key)
    return contents(made)


BEFORE: list[wire.Row] = [["1", "a", None], ["2", "b", "toast"], ["3", None, ""]]
LAID_OVER: dict[str, tuple[list[bytes], list[wire.Row]]] = {
    "nothing": ([], BEFORE),
    "a delete": ([wire.delete(OID, key=["2", None, None])], [BEFORE[0], BEFORE[2]]),
    "a delete with the whole row": ([wire.delete(OID, old=BEFORE[0])], BEFORE[1:]),
    "a delete of another": ([wire.delete(OID, key=["9", None, None])], BEFORE),
    "an update": ([wire.update(OID, ["1", "new", "x"])], [["1", "new", "x"], *BEFORE[1:]]),
    "an update to null": ([wire.update(OID, ["2", None, None])], [BEFORE[0], ["2", None, None], BEFORE[2]]),
    "an update that leaves a column": (
        [wire.update(OID, ["2", "c", UNCHANGED])],
        [BEFORE[0], ["2", "c", "toast"], BEFORE[2]],
    ),
    "a column that is null and unchanged": ([wire.update(OID, ["1", "c", UNCHANGED])], [["1", "c", None], *BEFORE[1:]]),
    "a key that is sent and has not changed": (
        [wire.update(OID, ["2", "c", UNCHANGED], key=["2", None, None])],
        [BEFORE[0], ["2", "c", "toast"], BEFORE[2]],
    ),
    "a toasted key that has not changed": (
        [wire.update(OID, [UNCHANGED, "c", UNCHANGED], key=["2", None, None])],
        [BEFORE[0], ["2", "c", "toast"], BEFORE[2]],
    ),
    "an old row that has the value": (
        [wire.update(OID, ["2", "c", UNCHANGED], old=["2", "b", "older"])],
        [BEFORE[0], ["2", "c", "older"], BEFORE[2]],
    ),
    "an old row that has null": (
        [wire.update(OID, ["2", "c", UNCHANGED], old=["2", "b", None])],
        [BEFORE[0], ["2", "c", None], BEFORE[2]],
    ),
    "a key that changes": ([wire.update(OID, ["9", "b", UNCHANGED], key=["2", None, None])], [BEFORE[0], BEFORE[2]]),
    "a key that changes, with the old row": (
        [wire.update(OID, ["9", "b", "x"], old=BEFORE[1])],
        [BEFORE[0], BEFORE[2]],
    ),
    "an insert of another": ([wire.insert(OID, ["9", "x", "y"])], BEFORE),
    "an insert of one that was deleted": (
        [wire.delete(OID, key=["2", None, None]), wire.insert(OID, ["2", "again", "x"])],
        [BEFORE[0], BEFORE[2]],
    ),
    "one after the other": (
        [
            wire.update(OID, ["3", "1st", "x"]),
            wire.update(OID, ["3", "2nd", UNCHANGED]),
            wire.update(OID, ["1", "x" * 99, UNCHANGED]),
            wire.update(OID, ["3", UNCHANGED, "y"]),
            wire.delete(OID, key=["1", None, None]),
        ],
        [BEFORE[1], ["3", "2nd", "y"]],
    ),
}


@pytest.mark.parametrize("name", LAID_OVER)
def test_changes_are_laid_over_rows(impl: Implementation, name: str) -> None:
    frames, after = LAID_OVER[name]
    assert laid_over(impl, BEFORE, *frames) == [wire.row(row) for row in after]


def test_keys_of_several_columns_do_not_run_together(impl: Implementation) -> None:
    rows: list[wire.Row] = [["a", "x", "bc"], ["ab", "x", "c"], ["", "x", "abc"]]
    frames = [wire.delete(OID, key=["ab", None, "c"]), wire.update(OID, ["", "y", "abc"])]
    expected = [wire.row(["a", "x", "bc"]), wire.row(["", "y", "abc"])]
    assert laid_over(impl, rows, *frames, key=(0, 2)) == expected
    assert laid_over(impl, rows, *frames, key=(2, 0)) == expected


def test_moved_rows_that_are_left_are_counted(impl: Implementation) -> None:
    rows = rows_of(impl, *([str(number)] for number in range(6)))
    rows.moved_count = 3
    rows.overlay(messages(*(wire.delete(OID, key=[number]) for number in ("1", "3", "5"))), KEY)
    assert [rows.key(index, KEY) for index in range(rows.count)] == [["0"], ["2"], ["4"]]
    assert rows.moved_count == 1


def test_a_large_row_that_changes_often_does_not_fill_the_memory(impl: Implementation) -> None:
    rows = rows_of(impl, ["1", "a", "x" * 500_000], ["2", "b", "y"])
    updates = [wire.update(OID, ["1", str(number), UNCHANGED]) for number in range(2_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows.overlay(messages(*updates, wire.delete(OID, key=["2", None, None])), KEY)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert contents(rows) == [wire.row(["1", "1999", "x" * 500_000])]
    assert grown < (100 << 20 if sys.platform == "darwin" else 100 << 10)  # KiB, there bytes


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (wire.update(OID, ["1", "2"]), "a row of 2 columns where the relation has 3"),
        (wire.update(OID, ["1", "2", "3"]) + b"x", "1 bytes too many"),
        (wire.update(OID, ["1", "2", "3"])[:-1], "need 1 bytes, 0 left"),
        (wire.delete(OID) + wire.insert(OID, ["1", "2", "3"])[HEADER + 5 :], "unknown part of a change 0x4E"),
        (wire.insert(OID, [])[: HEADER + 5] + b"K" + wire.row(["1", "2", "3"]), "unknown part of a change 0x4B"),
        (wire.delete(OID, key=["1", None, None])[:-1] + b"x", "unknown column kind 0x78"),
    ],
    ids=["columns", "too long", "too short", "a delete with a new row", "an insert with a key", "kind"],
)
def test_messages_that_do_not_fit_are_errors(impl: Implementation, message: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        laid_over(impl, BEFORE, message)


class Model(NamedTuple):
    """A table with a history: what is sent of it, and what it is in the end."""

    frames: list[bytes]
    before: list[wire.Row]
    after: list[wire.Row]
    """Of the rows that were there before and still have their key."""


values = st.none() | st.sampled_from(["", "a", "\\", "ä"])
keys = st.integers(0, 6).map(str)
steps = st.lists(
    st.tuples(st.sampled_from(["insert", "update", "move", "delete"]), keys, keys, values, st.none() | values),
    max_size=12,
)


def played(
    steps_of: list[tuple[str, str, str, Any, Any]], start: dict[str, tuple[Any, Any]], *, is_full: bool
) -> Model:
    """A table with the columns key, value and a TOASTed one; each row remembers whether it is one of the first ones."""
    table = {key: (key, *row, True) for key, row in start.items()}
    before: list[wire.Row] = [list(row[:3]) for row in table.values()]
    frames = []
    for action, key, other, value, toast in steps_of:
        row = table.get(key)
        if action == "insert" and row is None:
            table[key] = (key, value, toast, False)
            frames.append(wire.insert(OID, [key, value, toast]))
        elif row is not None and action == "delete":
            del table[key]
            frames.append(wire.delete(OID, old=list(row[:3])) if is_full else wire.delete(OID, key=[key, None, None]))
        elif row is not None and action in {"update", "move"}:
            new_key = other if action == "move" and other not in table else key
            del table[key]
            table[new_key] = (new_key, value, row[2] if toast is None else toast, row[3] and new_key == key)
            new: wire.Row = [new_key, value, UNCHANGED if toast is None and row[2] is not None else table[new_key][2]]
            if is_full:
                frames.append(wire.update(OID, new, old=list(row[:3])))
            else:
                frames.append(wire.update(OID, new, key=[key, None, None] if new_key != key else None))
    return Model(frames, before, [list(row[:3]) for row in table.values() if row[3]])


@given(st.dictionaries(keys, st.tuples(values, values)), steps, st.booleans())
def test_an_overlay_gives_the_rows_as_they_are_in_the_end(
    start: dict[str, tuple[Any, Any]], steps_of: list[tuple[str, str, str, Any, Any]], is_full: bool
) -> None:
    model = played(steps_of, start, is_full=is_full)
    for impl in IMPLEMENTATIONS:
        rows = rows_of(impl, *model.before, column_count=3)
        rows.overlay(messages(*model.frames), KEY)
        assert sorted(contents(rows)) == sorted(wire.row(row) for row in model.after)


@given(
    st.dictionaries(keys, st.tuples(values, values)),
    st.lists(
        st.tuples(
            st.sampled_from("IUD"),
            keys,
            st.none() | keys,
            st.lists(values | st.just(UNCHANGED), min_size=2, max_size=2),
        )
    ),
    st.integers(0, 3),
)
def test_both_agree_on_any_changes(
    start: dict[str, tuple[Any, Any]], given_changes: list[tuple[str, str, str | None, wire.Row]], moved_count: int
) -> None:
    """Also on what no table does: keys that come twice, or that are null."""
    frames = []
    for tag, key, old_key, cells in given_changes:
        if tag == "I":
            frames.append(wire.insert(OID, [key, *cells]))
        elif tag == "D":
            frames.append(wire.delete(OID, key=[old_key, *cells]))
        else:
            frames.append(wire.update(OID, [key, *cells], key=None if old_key is None else [old_key, *reversed(cells)]))
    found = []
    for impl in IMPLEMENTATIONS:
        rows = rows_of(impl, *([key, *row] for key, row in start.items()), column_count=3)
        rows.moved_count = min(moved_count, rows.count)
        for at in range(0, len(frames), 2):
            rows.overlay(messages(*frames[at : at + 2]), KEY)
        found.append((contents(rows), rows.moved_count))
    assert found[0] == found[1]
