"""Which messages a start may go on from."""

from __future__ import annotations

import datetime

import msgspec
import pytest

from ditto.config import Nats
from ditto.decoding.change import DetailedChange, Meta, SnapshotMark
from ditto.decoding.event_id import event_id, event_key
from ditto.errors import TailForged
from ditto.formats.checkpoint import decode_checkpoint, encode_checkpoint
from ditto.formats.own_headers import own_lines
from ditto.lsn import Checkpoint, Position, Transaction
from ditto.sinks.base import PipelineId
from ditto.sinks.jetstream import stream_metadata
from ditto.sinks.jetstream.api_answers import StoredMessage
from ditto.sinks.jetstream.last_message import Classified, Kind, classify
from unit.implementations import ID_KEY, Implementation
from unit.wire import Column, begin, commit, insert, relation

POSITION = Position(0x16_B374D848, 12)
TIME = "2026-11-25T12:00:00.000001Z"
OTHER = event_key("7312345678901234567", "other")


def message(payload: bytes, position: object = POSITION, *, header: str = "Ditto-Position") -> StoredMessage:
    hdrs = f"NATS/1.0\r\nNats-Expected-Last-Sequence: 7\r\n{header}: {position}\r\n\r\n".encode()
    return StoredMessage("ditto_public_t", 8, datetime.datetime.now(datetime.UTC), hdrs, payload)


def event(position: Position = POSITION, key: bytes = ID_KEY) -> bytes:
    data = {"commitTime": "1999", "text": '"commitTime":"1999"', "deep": []}
    meta = Meta(lsn="0/1", primary_key=["commitTime", '"commitTime":"1999"'])
    return msgspec.json.encode(
        DetailedChange(event_id(position, key), "public", "t", "UPDATE", data, {}, TIME, ['"commitTime":"'], meta=meta)
    )


def classified(stored: StoredMessage, keys: list[bytes] | None = None) -> Classified:
    return classify(stored, keys=[ID_KEY] if keys is None else keys, config=Nats(stream="D'S `x`"))


def test_an_event() -> None:
    told = classified(message(event()))
    assert told == Classified(Kind.PLACE, 8, POSITION, Transaction(POSITION.commit_lsn, TIME), is_proven=True)


def test_the_ids_are_those_of_the_decoders(impl: Implementation) -> None:
    frames = [relation(1, "t", [Column("id", 23, is_key=True)]), begin(0x16_B374D848)]
    frames += [insert(1, [str(row)]) for row in (1, 2, 3)] + [commit(0x16_B374D848)]
    block = impl.decode(frames)
    ids = [event_id(Position(0x16_B374D848, ordinal), ID_KEY) for ordinal in (1, 2, 3)]
    assert [event.id for event in block.changes] == ids


def test_an_event_that_is_nested_too_deeply_to_be_parsed() -> None:
    payload = event().replace(b'"deep":[]', b'"deep":' + b"[" * 20_000 + b"]" * 20_000)
    assert classified(message(payload)).last == Transaction(POSITION.commit_lsn, TIME)


def test_a_checkpoint() -> None:
    last = Transaction(0x480, TIME, 795)
    stored = message(encode_checkpoint(Checkpoint(0x500, last), ID_KEY), Position(0x500, 0))
    assert classified(stored) == Classified(Kind.PLACE, 8, Position(0x500, 0), last)
    assert decode_checkpoint(stored.data).checkpoint == Checkpoint(0x500, last)
    assert b'"last":{"lsn":"0/480","commitTime":"2026-11-25T12:00:00.000001Z","xid":795}' in stored.data


def test_a_checkpoint_of_an_earlier_version() -> None:
    told = classified(message(b'{"lsn":"0/500"}', Position(0x500, 0)))
    assert told == Classified(Kind.PLACE, 8, Position(0x500, 0), None, is_proven=False)


def test_what_has_no_place_of_its_own() -> None:
    assert classified(message(b'{"schema":"public","table":"t"}')).kind is Kind.DESCRIPTION
    assert classified(message(b"hello", "x", header="Their-Header")).kind is Kind.FOREIGN
    assert classified(message(b"", "MaxAge", header="Nats-Marker-Reason")).kind is Kind.MARKER


@pytest.mark.parametrize(
    ("payload", "position"),
    [
        (event(), "16/B374D848:13"),  # the body of one event, with another position
        (event(), "FFFF/0:12"),
        (event(key=OTHER), POSITION),  # of another slot
        (event(), "nonsense"),
        (event(), ""),
        (event(Position(0x500, 0)), Position(0x500, 0)),  # no event has the ordinal 0
        (b"{}", POSITION),
        (b"", POSITION),
        (b"hello", POSITION),
        (b'{"lsn":"0/500"}', Position(0x501, 0)),
        (b'{"lsn":"0/500"}', Position(0x500, 1)),
        (b'{"lsn":5}', Position(0x500, 0)),
        (b'{"lsn":"nonsense"}', Position(0x500, 0)),
        (encode_checkpoint(Checkpoint(0x500), OTHER), Position(0x500, 0)),
    ],
)
def test_a_message_that_claims_a_position_and_is_not_dittos(payload: bytes, position: object) -> None:
    with pytest.raises(TailForged, match="message 8 of stream D'S `x` claims") as caught:
        classified(message(payload, position))
    assert (caught.value.hint or "").endswith(
        """(nats --server=nats://localhost:4222 stream rmm 'D'"'"'S `x`' 8 --force), and start again"""
    )


def test_ids_of_the_cluster_that_was_upgraded_count_too() -> None:
    with pytest.raises(TailForged):
        classified(message(event(key=OTHER)))
    assert classified(message(event(key=OTHER)), [ID_KEY, OTHER]).position == POSITION


# ------------------------------------------------------------------------------------ metadata

OWNER = PipelineId("7312", "ditto", "cdc", start_lsn=0x300, timeline=2, publication="pub")


def test_a_new_stream_is_claimed() -> None:
    given = stream_metadata.claim(stream_metadata.created(), OWNER, last_sequence=5)
    assert stream_metadata.read_owner(given) == OWNER
    assert stream_metadata.is_created_here(given)
    assert stream_metadata.identified_after(given) == 0
    assert stream_metadata.claim(given, OWNER, last_sequence=99) == given, "nothing to change"


def test_a_stream_of_an_earlier_version_is_taken_up() -> None:
    before = {
        "ditto.system-identifier": "7312",
        "ditto.slot": "ditto",
        "ditto.prefix": "cdc",
        "ditto.start-lsn": "0/300",
        "ditto.timeline": "1",
        "theirs": "kept",
    }
    assert stream_metadata.identified_after(before) is None
    given = stream_metadata.claim(before, OWNER, last_sequence=99)
    assert given == {**before, "ditto.identified-after": "99"}, "timeline and publication are those of what is stored"
    assert stream_metadata.claim(given, OWNER, last_sequence=500) == given


def test_the_cluster_after_pg_upgrade_takes_the_stream() -> None:
    first = stream_metadata.claim(stream_metadata.created(), OWNER, last_sequence=5)
    first |= stream_metadata.write_place(Checkpoint(0x300), OWNER)
    second = stream_metadata.claim(first, PipelineId("8000", "ditto", "cdc", 0x900, 1, "pub"), last_sequence=7)
    assert stream_metadata.read_owner(second) == PipelineId("8000", "ditto", "cdc", 0x900, 1, "pub", ("7312",))
    assert stream_metadata.read_place(second) is None
    third = stream_metadata.claim(second, PipelineId("9000", "ditto", "cdc", 0xA00, 1, "pub"), last_sequence=9)
    assert stream_metadata.read_owner(third) == PipelineId("9000", "ditto", "cdc", 0xA00, 1, "pub", ("7312", "8000"))


def test_the_place() -> None:
    place = Checkpoint(0x500, Transaction(0x480, TIME, 795), 33)
    assert stream_metadata.read_place(stream_metadata.write_place(place, OWNER)) == place
    assert stream_metadata.read_place({}) is None
    assert stream_metadata.read_place({"ditto.place": "nonsense"}) is None


def test_metadata_that_somebody_replaced() -> None:
    ours = {"ditto.slot": "ditto", "ditto.created": "true", "theirs": "old"}
    assert stream_metadata.restored({"theirs": "new", "ditto.slot": "changed"}, ours) == {
        "ditto.slot": "changed",
        "ditto.created": "true",
        "theirs": "new",
    }


def own_message(body: bytes, position: Position = POSITION, **given: object) -> StoredMessage:
    stored = message(body, position)
    lines = own_lines(event_id(position, ID_KEY), TIME, **given)  # type: ignore[arg-type]
    return msgspec.structs.replace(stored, hdrs=stored.hdrs[:-2] + lines + b"\r\n")


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b'{"id":"7"}', b'{"schema":"x"}', b'{"lsn":"0/1"}', b'{"snapshot":{"run":"forged"}}'],
)
def test_a_body_of_any_kind_whose_headers_say_what_it_is(body: bytes) -> None:
    expected = Classified(Kind.PLACE, 8, POSITION, Transaction(POSITION.commit_lsn, TIME))
    assert classified(own_message(body)) == expected
    assert classified(own_message(body, own_id="order-7")) == expected
    marked = classified(own_message(body, mark=SnapshotMark("run", ["7"])))
    assert marked == expected._replace(mark=SnapshotMark("run", ["7"]))


def test_headers_that_somebody_else_has_written() -> None:
    with pytest.raises(TailForged, match="to which its id does not belong"):
        classified(own_message(b"{}"), [OTHER])
