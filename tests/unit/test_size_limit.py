"""A change that cannot fit is refused before its values are converted; one that may fit never is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from ditto.decoding.column_kinds import BYTEA, HSTORE, JSON, KINDS, TEXT, TIMESTAMPTZ
from ditto.decoding.messages import ChangeTooLarge
from ditto.decoding.size_limit import least_size
from unit import wire
from unit.implementations import encode
from unit.wire import UNCHANGED, Column

if TYPE_CHECKING:
    from unit.implementations import Implementation

LSN = 0x16_B374_D848
LIMIT = 1000
TABLE = wire.relation(1, "t", [Column("id", wire.INT4, is_key=True), Column("body"), Column("other")])
FULL = wire.relation(
    2, "full", [Column("id", wire.INT4, is_key=True), Column("body", is_key=True), Column("other")], identity="f"
)
LARGE = "secret" * (LIMIT // 6) + "secret"

# The shortest that they get: of each kind what shrinks most.
SHRINKING = {
    "bytea": (BYTEA, b"\\x" + b"00" * 300),
    "bytea of one byte": (BYTEA, b"\\x00"),
    "empty bytea": (BYTEA, b"\\x"),
    "timestamptz": (TIMESTAMPTZ, b"2026-01-01 00:00:00+00"),
    "timestamptz[]": (KINDS.find(0, "", "_timestamptz"), b'{"2026-01-01 00:00:00+00","2026-01-01 00:00:00+00"}'),
    "hstore": (HSTORE, b", ".join([b'""=>""'] * 100)),
    "hstore of nulls": (HSTORE, b", ".join([b'""=>NULL'] * 100)),
    "hstore of quotes": (HSTORE, b", ".join([rb'"\""=>"\\"'] * 100)),
    "hstore[]": (KINDS.find(0, "public", "_hstore"), b"{" + b",".join([rb'"\"\\\"\"=>\"\\\\\""'] * 100) + b"}"),
    "hstore[] of empty texts": (KINDS.find(0, "public", "_hstore"), b"{" + b",".join([rb'"\"\"=>\"\""'] * 100) + b"}"),
    "hstore[] of empty ones": (KINDS.find(0, "public", "_hstore"), b"{" + b",".join([b'""'] * 100) + b"}"),
    "jsonb": (JSON, b'{"a": "\\\\"}'),
    "jsonb[]": (KINDS.find(0, "", "_jsonb"), b"{" + b",".join([rb'"\"\\\\\""'] * 100) + b"}"),
    "jsonb[] of empty texts": (KINDS.find(0, "", "_jsonb"), b"{" + b",".join([rb'"\"\""'] * 100) + b"}"),
    "bytea[]": (KINDS.find(0, "", "_bytea"), b"{" + b",".join([rb'"\\x00"'] * 100) + b"}"),
    "bytea[] of empty ones": (KINDS.find(0, "", "_bytea"), b"{" + b",".join([rb'"\\x"'] * 100) + b"}"),
    "text[]": (KINDS.find(0, "", "_text"), b"{" + b",".join([rb'"\\\""'] * 100) + b"}"),
    "int4[]": (KINDS.find(0, "", "_int4"), b"{{1,NULL},{2,3}}"),
    "bool[]": (KINDS.find(0, "", "_bool"), b"{t,f,NULL}"),
    "float8[]": (KINDS.find(0, "", "_float8"), b"{1,NaN}"),
    "char[]": (KINDS.find(0, "", "_char"), rb'{"\\310",a}'),
    "text": (TEXT, b"plain"),
}


@pytest.mark.parametrize("name", SHRINKING)
def test_no_value_gets_shorter_than_that(impl: Implementation, name: str) -> None:
    kind, text = SHRINKING[name]
    assert len(msgspec.json.encode(impl.convert(text, kind))) >= least_size(kind, len(text))


@pytest.mark.parametrize(
    "frame",
    [
        wire.insert(1, ["1", "x", LARGE]),
        wire.insert(1, ["1", "x" * 400, LARGE[:-400]]),
        wire.update(1, ["1", "x", LARGE]),
        wire.update(2, ["1", UNCHANGED, "x"], old=["1", "x", LARGE]),
        wire.delete(2, old=["1", None, LARGE]),
    ],
)
def test_what_cannot_fit_is_refused_by_name(impl: Implementation, frame: bytes) -> None:
    decoder = impl.decoder(max_size=LIMIT)
    for each in (wire.begin(LSN), TABLE, FULL, wire.insert(1, ["1", "x", "y"])):
        decoder.feed(each)
    with pytest.raises(ChangeTooLarge) as caught:
        decoder.feed(frame)
    error = caught.value
    assert error.column == "other"
    assert error.relation in {"public.t", "public.full"}
    assert error.action == {"I": "INSERT", "U": "UPDATE", "D": "DELETE"}[chr(frame[25])]
    assert (error.commit_lsn, error.ordinal) == (LSN, 2)
    assert LIMIT < error.size <= LIMIT + 100
    assert len(decoder.take().changes) == 1, "what comes before it"


@pytest.mark.parametrize(
    "frame",
    [
        wire.insert(1, ["1", "x", LARGE[: LIMIT - 2]]),
        wire.delete(1, key=["1", LARGE, LARGE]),
        wire.update(1, ["1", "x", UNCHANGED], key=["1", LARGE, LARGE]),
        wire.insert(3, ["\\x" + "00" * 700]),
    ],
)
def test_what_may_fit_is_not_refused(impl: Implementation, frame: bytes) -> None:
    decoder = impl.decoder(max_size=LIMIT)
    for each in (wire.begin(LSN), TABLE, wire.relation(3, "b", [Column("body", 17)]), frame, wire.commit(LSN)):
        decoder.feed(each)
    assert len(decoder.take().changes) == 1


def test_without_a_limit_nothing_is_refused(impl: Implementation) -> None:
    (event,) = impl.decode([wire.begin(LSN), TABLE, wire.insert(1, ["1", LARGE, LARGE]), wire.commit(LSN)]).changes
    assert len(encode([event])[0]) > 2 * LIMIT


def test_what_is_broken_is_left_to_the_decoder(impl: Implementation) -> None:
    decoder = impl.decoder(max_size=LIMIT)
    for each in (wire.begin(LSN), TABLE):
        decoder.feed(each)
    with pytest.raises(Exception, match="bytes"):
        decoder.feed(wire.insert(1, ["1", "x", LARGE])[:-1])
