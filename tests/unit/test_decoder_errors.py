"""Bytes that are not what was asked for: DecodeError, which says what and where, and quotes no row."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from ditto.errors import DecodeError
from unit import wire
from unit.wire import Column, copy_data

if TYPE_CHECKING:
    from unit.implementations import Implementation

LSN = 0x16_B374_D848
TABLE = wire.relation(1, "trades", [Column("id", wire.INT4, is_key=True), Column("name")])
OPEN = (wire.begin(LSN), TABLE)
SECRET = "hunter2"
ROW = wire.insert(1, ["1", SECRET])


def replaced(frame: bytes, old: bytes, new: bytes) -> bytes:
    assert frame.count(old) == 1
    return frame.replace(old, new)


BROKEN = {
    "unknown replication message": ((), b"x" + ROW[1:], "unknown replication message 0x78"),
    "empty": ((), b"", "need 1 bytes, 0 left"),
    "no message": ((), copy_data(b""), "need 1 bytes"),
    "unknown message": ((), copy_data(b"Z"), "unknown message 0x5A"),
    "begin in a transaction": (OPEN, wire.begin(LSN + 1), "Begin inside a transaction"),
    "same commit LSN again": ((*OPEN, wire.commit(LSN)), wire.begin(LSN), "16/B374D848 comes out of commit order"),
    "earlier transaction": ((*OPEN, wire.commit(LSN)), wire.begin(LSN - 1), "16/B374D847 comes out of commit order"),
    "commit outside": ((), wire.commit(LSN), "Commit outside a transaction"),
    "commit of another": (OPEN, wire.commit(LSN + 1), "Commit at 16/B374D849 that does not fit its Begin"),
    "commit that ends before it begins": (OPEN, wire.commit(LSN, end_lsn=LSN), "does not fit its Begin"),
    "change outside": ((TABLE,), ROW, "change outside a transaction"),
    "truncate outside": ((TABLE,), wire.truncate(1), "change outside a transaction"),
    "logical message outside": ((), wire.logical_message(), "change outside a transaction"),
    "unknown relation": (OPEN, wire.insert(2, ["1"]), "change of relation 2, which was not described"),
    "unknown relation in a truncate": (OPEN, wire.truncate(1, 5), "change of relation 5, which was not described"),
    "too few columns": (OPEN, wire.insert(1, ["1"]), "row of 1 columns where the relation has 2"),
    "too many columns": (OPEN, wire.insert(1, ["1", SECRET, "x"]), "row of 3 columns where the relation has 2"),
    "too few old columns": (OPEN, wire.delete(1, key=["1"]), "row of 1 columns where the relation has 2"),
    "trailing byte": (OPEN, ROW + b"\0", "1 bytes too many"),
    "binary column": (OPEN, replaced(ROW, b"t\0\0\0\7hun", b"b\0\0\0\7hun"), "unknown column kind 0x62"),
    "unknown old column": (OPEN, wire.delete(1, key=["1", None])[:-1] + b"x", "unknown column kind 0x78"),
    "negative length": (OPEN, replaced(ROW, b"\0\0\0\7hun", b"\xff\xff\xff\xffhun"), "need -1 bytes"),
    "length past the end": (OPEN, replaced(ROW, b"\0\0\0\7hun", b"\0\0\0\x08hun"), "need 8 bytes, 7 left"),
    "huge length": (OPEN, replaced(ROW, b"\0\0\0\7hun", b"\x7f\xff\xff\xffhun"), "need 2147483647 bytes, 7 left"),
    "insert without a new row": (OPEN, replaced(ROW, b"\1N\0", b"\1K\0"), "unknown part of a change 0x4B"),
    "update with an unknown part": (
        OPEN,
        replaced(wire.update(1, ["1", None]), b"\1N\0", b"\1X\0"),
        "unknown part of a change 0x58",
    ),
    "delete with a new row": (
        OPEN,
        replaced(wire.delete(1, key=["1", None]), b"\1K\0", b"\1N\0"),
        "unknown part of a change 0x4E",
    ),
    "truncate flags": (OPEN, wire.truncate(1, flags=4), "unknown flags 4 of a Truncate"),
    "truncate of more than it names": (OPEN, replaced(wire.truncate(1), b"T\0\0\0\1", b"T\xff\xff\xff\xff"), "need"),
    "logical message flags": (OPEN, copy_data(b"M\2" + bytes(9) + bytes(4)), "unknown flags 2 of a logical message"),
    "logical message length": (OPEN, copy_data(b"M\1" + bytes(9) + b"\xff\xff\xff\xfe"), "need -2 bytes"),
    "column flags": (
        (),
        replaced(wire.relation(1, "t", [Column("c")]), b"\1\0c", b"\1\2c"),
        "unknown column flags 2",
    ),
    "two columns of one name": (
        (),
        wire.relation(1, "t", [Column("c"), Column("c")]),
        "two columns of one name",
    ),
    "replica identity": ((), wire.relation(1, "t", [], identity="x"), "unknown replica identity 0x78"),
    "endless string": ((), copy_data(b"R" + struct.pack("!I", 1) + b"public"), "a string has no end"),
    "name that is not UTF-8": ((), copy_data(b"Y" + struct.pack("!I", 1) + b"\0\xff\0"), "text that is not UTF-8"),
    "text that is not UTF-8": (OPEN, wire.insert(1, ["1", b"hunter2\xff"]), "text that is not UTF-8"),
    "keepalive too long": ((), wire.keepalive(5) + b"\0", "1 bytes too many"),
    "commit time before year 1": ((), wire.begin(LSN, time_us=-63_082_281_600_000_001), "a commit time of"),
    "commit time after year 9999": ((), wire.begin(LSN, time_us=252_455_616_000_000_000), "a commit time of"),
    "commit time at the end of the range": ((), wire.begin(LSN, time_us=(1 << 63) - 1), "a commit time of"),
    "commit time at its beginning": ((), wire.begin(LSN, time_us=-(1 << 63)), "a commit time of"),
}


@pytest.mark.parametrize(("before", "frame", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_what_does_not_fit(impl: Implementation, before: tuple[bytes, ...], frame: bytes, words: str) -> None:
    decoder = impl.decoder()
    for each in before:
        decoder.feed(each)
    with pytest.raises(DecodeError) as caught:
        decoder.feed(frame)
    assert caught.value.message.startswith("cannot decode what PostgreSQL sent")
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("tag", "SEcAbPKrp")
def test_streamed_and_prepared_transactions_were_not_asked_for(impl: Implementation, tag: str) -> None:
    with pytest.raises(DecodeError, match=f"a streamed or prepared transaction \\(message '{tag}'\\)"):
        impl.decode([copy_data(tag.encode() + bytes(20))])


def test_it_says_in_which_transaction_and_relation(impl: Implementation) -> None:
    with pytest.raises(DecodeError) as caught:
        impl.decode([*OPEN, ROW[:-1]])
    assert "in the transaction that commits at 16/B374D848" in caught.value.message
    assert caught.value.context == {"relation": "public.trades"}


@pytest.mark.parametrize(
    "frame",
    [
        wire.insert(1, ["1", b"caf\xe9"]),
        wire.update(1, ["1", b"caf\xe9"]),
        wire.update(1, ["1", b"caf\xe9"], key=["2", None]),
    ],
)
def test_text_that_is_not_utf8_names_its_column(impl: Implementation, frame: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        impl.decode([*OPEN, frame])
    assert caught.value.context == {"relation": "public.trades", "column": "name"}
    assert "table public.trades: text that is not UTF-8 in the column name" in caught.value.message
    assert "caf" not in caught.value.message


@pytest.mark.parametrize(
    "frame",
    [
        ROW[:-1],
        ROW + b"x",
        wire.insert(1, [SECRET, SECRET.encode() + b"\xff"]),
        wire.update(1, ["1", SECRET], key=["1", SECRET])[:-3],
    ],
)
def test_no_row_value_is_quoted_anywhere(impl: Implementation, frame: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        impl.decode([*OPEN, frame])
    shown = []
    error: BaseException | None = caught.value
    while error is not None:  # what a traceback would show
        shown.append(f"{error} {error.args} {vars(error)}")
        assert not isinstance(error, UnicodeDecodeError), "it holds the bytes"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert SECRET not in " ".join(shown)
    assert "\\xff" not in " ".join(shown)


def test_json_has_to_be_utf8_as_well(impl: Implementation) -> None:
    # A database in SQL_ASCII sends whatever bytes were stored, and embedded JSON is not looked into.
    table = wire.relation(1, "t", [Column("doc", wire.JSONB)])
    with pytest.raises(DecodeError, match="not UTF-8"):
        impl.decode([wire.begin(LSN), table, wire.insert(1, [b'{"a": "\xe4"}'])])
