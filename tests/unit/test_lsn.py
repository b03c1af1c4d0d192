"""LSNs and positions, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.lsn import ORIGIN, Position, format_lsn, parse_lsn

lsns = st.integers(0, (1 << 64) - 1)
places = st.builds(Position, lsns, st.integers(0, (1 << 58) - 1))


@pytest.mark.parametrize(
    ("lsn", "text"),
    [
        (0, "0/0"),
        (1, "0/1"),
        (0xFFFFFFFF, "0/FFFFFFFF"),
        (0x1_00000000, "1/0"),
        (0x16_B374D848, "16/B374D848"),
        ((1 << 64) - 1, "FFFFFFFF/FFFFFFFF"),
    ],
)
def test_postgres_notation(lsn: int, text: str) -> None:
    assert format_lsn(lsn) == text
    assert parse_lsn(text) == lsn


def test_either_case_and_leading_zeros_are_read() -> None:
    assert parse_lsn("16/b374d848") == 0x16_B374D848
    assert parse_lsn("00000016/0000000F") == 0x16_0000000F


@given(lsns)
def test_an_lsn_comes_back(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@given(places)
def test_a_position_comes_back(position: Position) -> None:
    assert Position.parse(str(position)) == position


@given(places, places)
def test_positions_are_ordered_by_commit_and_then_by_ordinal(first: Position, second: Position) -> None:
    assert (first < second) == (
        first.commit_lsn < second.commit_lsn
        or (first.commit_lsn == second.commit_lsn and first.ordinal < second.ordinal)
    )
    assert first >= ORIGIN


@pytest.mark.parametrize("text", ["", "/", "1", "1/", "/1", "G/0", "0/G", "1/2/3", "123456789/0", "0/123456789", "1-2"])
def test_what_is_no_lsn(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an LSN|invalid literal"):
        parse_lsn(text)


@pytest.mark.parametrize("text", ["+1/2", "-1/0", "1/-0", "1_0/0", "0x1/2", " 1/2", "1/2 ", "0/1\n", "\u0661/2"])
def test_what_int_takes_is_not_always_an_lsn(text: str) -> None:
    with pytest.raises(ValueError, match="not an LSN"):
        parse_lsn(text)


@pytest.mark.parametrize(
    "text", ["", "0/1", "0/1:", ":1", "0/1:x", "0/1:-1", "0/1:1_0", "0/1:²", "0/1:\u0661", "1:0/1", "x/1:1"]
)
def test_what_is_no_position(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a position|not an LSN|invalid literal"):
        Position.parse(text)
