"""The event: the public contract of Ditto, byte by byte."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.decoding.change import Change
from ditto.decoding.event_id import event_key
from unit import wire
from unit.implementations import IMPLEMENTATIONS, encode
from unit.wire import Column

if TYPE_CHECKING:
    from unit.implementations import Implementation

EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001  PostgreSQL's, in UTC
US = timedelta(microseconds=1)
COLUMNS = [Column("id", wire.INT4, is_key=True), Column("name"), Column("doc", wire.JSONB)]


def one_event(impl: Implementation, frame: bytes, *, lsn: int = 0x16_B374_D848, time_us: int = 0) -> Change:
    table = wire.relation(1, "trades", COLUMNS)
    block = impl.decode([wire.begin(lsn, time_us=time_us), table, frame, wire.commit(lsn)])
    event: Change
    (event,) = block.changes
    return event


def test_an_event_as_it_stands_in_the_stream(impl: Implementation) -> None:
    frame = wire.update(1, ["7", 'é"', '{"b": [1.0]}'], key=["6", None, None])
    moment = datetime(2026, 11, 23, 6, 8, 38, 123456)  # noqa: DTZ001
    event = one_event(impl, frame, time_us=(moment - EPOCH) // US)
    (payload,) = encode([event])
    assert payload.decode() == (
        f'{{"id":"{event.id}","schema":"public","table":"trades","action":"UPDATE",'
        '"data":{"id":7,"name":"é\\"","doc":{"b": [1.0]}},"dataOld":{"id":6},'
        '"commitTime":"2026-11-23T06:08:38.123456Z"}'
    )


def test_unchanged_stands_last_and_only_where_there_is_any(impl: Implementation) -> None:
    with_unchanged = one_event(impl, wire.update(1, ["7", wire.UNCHANGED, wire.UNCHANGED]))
    without = one_event(impl, wire.insert(1, ["7", None, None]))
    payloads = encode([with_unchanged, without])
    assert payloads[0].endswith(b',"unchanged":["name","doc"]}')
    keys = ["id", "schema", "table", "action", "data", "dataOld", "commitTime"]
    assert list(json.loads(payloads[0])) == [*keys, "unchanged"]
    assert list(json.loads(payloads[1])) == keys


def test_empty_maps_are_written(impl: Implementation) -> None:
    (payload,) = encode([one_event(impl, wire.truncate(1))])
    assert b'"action":"TRUNCATE","data":{},"dataOld":{},"commitTime":"' in payload


def test_html_is_not_escaped(impl: Implementation) -> None:
    (payload,) = encode([one_event(impl, wire.insert(1, ["7", "<a href='x'>&</a>", None]))])
    assert b"<a href='x'>&</a>" in payload


def test_every_event_of_a_block_is_encoded_in_order(impl: Implementation) -> None:
    events = [one_event(impl, wire.insert(1, [str(number), None, None])) for number in range(3)]
    assert [json.loads(payload)["data"]["id"] for payload in encode(events)] == [0, 1, 2]
    assert encode([]) == []


def test_line_breaks_between_the_tokens_of_a_document_stay(impl: Implementation) -> None:
    """Of all that an event may hold only `json` brings any, and they are what tells one event from the next."""
    documents = ['{"a":\n[1,\n2]}', "1", "\n{}\n", '"\\n"']
    events = [one_event(impl, wire.insert(1, ["7", "x\ny", document])) for document in documents]
    payloads = [payload.decode() for payload in encode(events)]
    assert [payload.partition('"doc":')[2].partition('},"dataOld"')[0] for payload in payloads] == documents
    assert all('"name":"x\\ny"' in payload for payload in payloads)


@pytest.mark.parametrize(
    "moment",
    [
        datetime.min,  # noqa: DTZ901
        datetime(1, 2, 28, 23, 59, 59, 999999),  # noqa: DTZ001
        datetime(1900, 2, 28, 23, 59, 59, 999999),  # noqa: DTZ001  not a leap year
        datetime(1999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
        EPOCH,
        datetime(2000, 2, 29, 12),  # noqa: DTZ001
        datetime(2000, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
        datetime(2001, 1, 1),  # noqa: DTZ001
        datetime(2024, 2, 29, 0, 0, 0, 1),  # noqa: DTZ001
        datetime(2100, 2, 28, 23, 59, 59),  # noqa: DTZ001
        datetime(2100, 3, 1),  # noqa: DTZ001
        datetime.max,  # noqa: DTZ901
    ],
    ids=str,
)
def test_commit_times(impl: Implementation, moment: datetime) -> None:
    event = one_event(impl, wire.truncate(1), time_us=(moment - EPOCH) // US)
    assert event.commit_time == moment.isoformat(timespec="microseconds") + "Z"


@given(moment=st.datetimes())
def test_any_commit_time_is_datetimes(moment: datetime) -> None:
    for impl in IMPLEMENTATIONS:
        event = one_event(impl, wire.truncate(1), time_us=(moment - EPOCH) // US)
        assert event.commit_time == moment.isoformat(timespec="microseconds") + "Z"


def test_ids_are_uuids_of_version_8(impl: Implementation) -> None:
    parsed = uuid.UUID(one_event(impl, wire.truncate(1)).id)
    assert parsed.version == 8
    assert parsed.variant == uuid.RFC_4122
    assert str(parsed) == one_event(impl, wire.truncate(1)).id


def test_an_id_is_what_it_has_always_been(impl: Implementation) -> None:
    # Consumers recognise a redelivered event by it: a new release of Ditto must not change it.
    assert one_event(impl, wire.truncate(1)).id == "be3e2ea9-6a8a-849c-9a3a-f14f8bb92bcd"


@given(
    places=st.lists(
        st.tuples(st.integers(1, (1 << 64) - 9), st.integers(1, 4), st.sampled_from(["ditto", "other"])),
        unique=True,
        min_size=2,
        max_size=6,
    )
)
def test_ids_are_unique_and_the_same_in_both(places: list[tuple[int, int, str]]) -> None:
    ids: dict[str, set[str]] = {impl.name: set() for impl in IMPLEMENTATIONS}
    for lsn, ordinal, slot in places:
        key = event_key("7312345678901234567", slot)
        for impl in IMPLEMENTATIONS:
            decoder = impl.decoder(id_key=key)
            skipped = [wire.logical_message()] * (ordinal - 1)
            for frame in [wire.begin(lsn), wire.relation(1, "t", []), *skipped, wire.truncate(1)]:
                decoder.feed(frame)
            ids[impl.name].add(decoder.take().changes[0].id)
    assert ids["c"] == ids["python"]
    assert len(ids["c"]) == len(places)


def bits_of(event_id: str) -> int:
    """The 122 bits of an id that are neither version nor variant."""
    number = uuid.UUID(event_id).int
    return (number >> 80) << 74 | (number >> 64 & 0xFFF) << 62 | (number & ((1 << 62) - 1))


@given(first=st.integers(1, (1 << 64) - 9), second=st.integers(1, (1 << 64) - 9))
def test_an_id_holds_the_whole_position(first: int, second: int) -> None:
    for impl in IMPLEMENTATIONS:
        ids = [one_event(impl, wire.truncate(1), lsn=lsn).id for lsn in (first, second)]
        assert bits_of(ids[0]) ^ bits_of(ids[1]) == (first ^ second) << 58


def test_the_key_tells_clusters_and_slots_apart() -> None:
    keys = {event_key(system, slot) for system in ("7312", "7313") for slot in ("a", "b")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {16}
    assert event_key("7312", "a") in keys
