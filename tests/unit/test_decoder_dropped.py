"""What is known of dropped tables is given up, and of no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ditto.config import Events
from ditto.errors import ConnectionLost, DecodeError, SubjectCollision
from ditto.routing.router import Router
from unit import wire
from unit.implementations import encode
from unit.wire import Column

if TYPE_CHECKING:
    from unit.implementations import Decoder, Implementation

LSN = 0x16_B374_D848
COLUMNS = [Column("id", wire.INT4, is_key=True)]


def decoder_of(impl: Implementation, *tables: tuple[int, str]) -> Decoder:
    """One that has decoded a row of each table."""
    decoder = impl.decoder()
    decoder.feed(wire.begin(LSN))
    for oid, name in tables:
        decoder.feed(wire.relation(oid, name, COLUMNS))
        decoder.feed(wire.insert(oid, ["1"]))
    decoder.feed(wire.commit(LSN))
    return decoder


def test_forgotten_ones_are_gone_and_others_stay(impl: Implementation) -> None:
    decoder = decoder_of(impl, (1, "a"), (2, "b"), (3, "c"))
    known = decoder.relations()
    assert decoder.relation_count == 3
    assert {oid: relation.name for oid, relation in known.items()} == {1: "a", 2: "b", 3: "c"}
    assert decoder.forget({oid: known[oid] for oid in (1, 3)}) == {("public", "a"), ("public", "c")}
    assert decoder.relation_count == 1
    assert decoder.passed_counts() == {("public", "b"): (1, 0, 0, 0, 0)}
    decoder.take()
    for frame in (wire.begin(LSN + 8), wire.insert(2, ["2"]), wire.commit(LSN + 8)):
        decoder.feed(frame)
    assert b'"table":"b"' in encode(decoder.take().changes)[0]


@pytest.mark.parametrize("frame", [wire.insert(1, ["1"]), wire.truncate(1)])
def test_one_that_comes_again_asks_for_a_new_connection(impl: Implementation, frame: bytes) -> None:
    decoder = decoder_of(impl, (1, "a"))
    decoder.forget(decoder.relations())
    decoder.feed(wire.begin(LSN + 8))
    with pytest.raises(ConnectionLost, match="relation 1") as caught:
        decoder.feed(frame)
    assert caught.value.is_retryable


def test_one_that_was_never_described_is_an_error_still(impl: Implementation) -> None:
    decoder = decoder_of(impl, (1, "a"))
    decoder.feed(wire.begin(LSN + 8))
    with pytest.raises(DecodeError, match="not described"):
        decoder.feed(wire.insert(9, ["1"]))


def test_one_that_was_described_anew_meanwhile_stays(impl: Implementation) -> None:
    decoder = decoder_of(impl, (1, "a"))
    known = decoder.relations()
    decoder.feed(wire.relation(1, "new", COLUMNS))  # the OID was used again
    assert decoder.forget(known) == set()
    assert decoder.relation_count == 1


def test_a_name_that_another_one_has_now_stays(impl: Implementation) -> None:
    decoder = decoder_of(impl, (1, "a"), (2, "a"))
    known = decoder.relations()
    assert decoder.forget({1: known[1]}) == set()
    assert decoder.passed_counts() == {("public", "a"): (2, 0, 0, 0, 0)}


def test_it_knows_how_far_it_is(impl: Implementation) -> None:
    decoder = decoder_of(impl, (1, "a"))
    passed = decoder.passed_lsn
    assert passed > LSN
    decoder.feed(wire.begin(LSN + 0x1000))
    assert decoder.passed_lsn == LSN + 0x1000
    decoder.feed(wire.commit(LSN + 0x1000))
    decoder.feed(wire.keepalive(LSN + 0x9000))
    assert decoder.passed_lsn == LSN + 0x9000


def test_types_are_not_kept_for_ever(impl: Implementation) -> None:
    decoder = impl.decoder()
    for oid in range(20_000, 30_000):
        decoder.feed(wire.type_(oid, "public", f"mood{oid}"))
        decoder.feed(wire.relation(1, "a", [Column("mood", oid)]))
        (column,) = decoder.relations()[1].columns
        assert (column.type_namespace, column.type_name) == ("public", f"mood{oid}")


def test_a_dropped_tables_subject_is_free() -> None:
    router = Router(Events(), database="d")
    router.routes("a_b", "c")
    with pytest.raises(SubjectCollision):
        router.routes("a", "b_c")
    router.forget({("a_b", "c")})
    assert router.routes("a", "b_c").insert
