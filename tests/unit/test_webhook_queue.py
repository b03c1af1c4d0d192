"""The requests that are made of what waits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sinks.messages import PIPELINE, TIME, batch, event, transaction

from ditto.decoding.event_id import event_id, event_key
from ditto.formats.own_headers import own_lines
from ditto.formats.payloads import Payloads
from ditto.lsn import Position
from ditto.sinks.base import Batch, MessageTooLarge
from ditto.sinks.webhook.queue import Kind, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ditto.sinks.webhook.queue import Request

KEY = event_key(PIPELINE.system_identifier, PIPELINE.slot)
LSN = 0x2000
CLOUDEVENT = b"Content-Type: application/cloudevents+json\r\n"
MSGPACK = b"Content-Type: application/msgpack\r\n"


def queue(*, body: Any = "array", max_events: int = 500, max_bytes: int = 1 << 20, key: bytes = KEY) -> Queue:
    return Queue(body=body, max_events=max_events, max_bytes=max_bytes, key=key)


def drained(of: Queue) -> list[Request]:
    found = []
    while of.first is not None:
        found.append(of.take())
    return found


def raw(payloads: Sequence[bytes], *, headers: list[bytes] | None = None, gap: int = 1, **more: Any) -> Batch:
    data, ends = bytearray(), []
    for payload in payloads:
        data += payload
        ends.append(len(data))
        data += b"\n" * gap
    return Batch(
        1,
        [b"r"] * len(payloads),
        [LSN] * len(payloads),
        list(range(1, len(payloads) + 1)),
        Payloads(data, ends, gap),
        more.pop("traces", None),
        False,
        headers=headers,
        **more,
    )


def lines_of(ordinal: int, more: bytes) -> bytes:
    return own_lines(event_id(Position(LSN, ordinal), KEY), TIME) + more


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.integers(1, 40),
    st.integers(600, 4000),
    st.sampled_from(["array", "ndjson"]),
    st.sampled_from([0, 1, 2]),
)
def test_everything_once_in_order_within_the_limits(
    sizes: list[int], max_events: int, max_bytes: int, body: str, gap: int
) -> None:
    messages = transaction(LSN, sum(sizes))
    waiting, first = queue(body=body, max_events=max_events, max_bytes=max_bytes), 1
    for size in sizes:
        waiting.add(batch(messages[first - 1 : first - 1 + size], first=first, gap=gap))
        first += size
    got: list[Any] = []
    number = 1
    while waiting.first is not None:
        assert waiting.first == number
        request = waiting.take()
        text = request.body if body == "array" else b"[%s]" % b",".join(request.body.splitlines())
        events = json.loads(text)
        assert len(request.body) <= max_bytes
        assert len(events) == request.count <= max_events
        got += events
        number += request.count
        assert request.last == Position(LSN, number - 1)
    assert got == [json.loads(payload) for _, payload in messages]
    assert (waiting._count, waiting._bytes) == (0, 0)


def test_the_id_is_that_of_the_events() -> None:
    def identifiers(count: int, *, max_events: int = 10, **more: Any) -> list[str]:
        waiting = queue(max_events=max_events, **more)
        waiting.add(batch(transaction(LSN, count), first=1))
        return [request.identifier for request in drained(waiting)]

    assert identifiers(30) == identifiers(30), "whenever they are posted"
    parts = queue(max_events=10)
    for first in range(1, 31, 5):
        parts.add(batch(transaction(LSN, first + 4, first=first), first=first))
    assert [request.identifier for request in drained(parts)] == identifiers(30), "in whatever parts they came"
    different = [*identifiers(30), *identifiers(30, max_events=9), *identifiers(9), *identifiers(30, key=b"x" * 16)]
    assert len(set(different)) == len(different) - 1, "of different ones it is different: the first 9 come twice"
    other = queue()
    made = batch(transaction(LSN, 9), first=1)
    other.add(msgspec.structs.replace(made, routes=[b"elsewhere"] * 9))
    assert other.take().identifier not in different, "a description has the position of the event before it"


def test_a_message_with_headers_or_a_key_is_a_record() -> None:
    payloads = [event(Position(LSN, 1)), b'{"x":\n1}', b"\x00raw", event(Position(LSN, 4)), event(Position(LSN, 5))]
    tenant = b"Content-Type: application/json\r\ntenant: a\r\n"
    headers = [b"", lines_of(2, tenant), lines_of(3, b"Ditto-Message: p\r\n")]
    waiting = queue()
    waiting.add(
        raw(payloads, headers=[*headers, b"", b""], keys=[None, None, None, b"k", None], traces={4: b"00-trace"})
    )
    (request,) = drained(waiting)
    first, second, third, fourth, fifth = json.loads(request.body)
    assert request.kind is Kind.JSON
    assert first == json.loads(payloads[0])
    assert (second["headers"]["tenant"], second["payload"]) == ("a", {"x": 1})
    assert third["payloadBase64"] == "AHJhdw=="
    assert (fourth["key"], fourth["payload"]) == ("k", json.loads(payloads[3]))
    assert fifth["headers"]["traceparent"] == "00-trace"
    for ordinal, each in enumerate((second, third, fourth, fifth), 2):
        assert each["id"] == event_id(Position(LSN, ordinal), KEY)


def test_kinds_do_not_mix() -> None:
    payloads = [b'{"id":"a"}', b'{"id":"b"}', b'{"id":"c"}']
    waiting = queue()
    waiting.add(raw(payloads, headers=[CLOUDEVENT, b"", CLOUDEVENT]))
    assert waiting.is_full, "more would not make the first one larger"
    requests = drained(waiting)
    assert [request.kind for request in requests] == [Kind.CLOUDEVENTS, Kind.JSON, Kind.CLOUDEVENTS]
    assert [request.body for request in requests] == [b"[%s]" % payload for payload in payloads]
    lines = queue(body="ndjson")
    lines.add(raw(payloads, headers=[CLOUDEVENT, b"", CLOUDEVENT]))
    (request,) = drained(lines)
    assert (request.kind, request.body) == (Kind.LINES, b"".join(payload + b"\n" for payload in payloads))


@pytest.mark.parametrize("count", [1, 15, 16, 70_000])
@pytest.mark.parametrize("body", ["array", "ndjson"])
def test_messagepack(count: int, body: str) -> None:
    payloads = [msgspec.msgpack.encode({"n": number}) for number in range(count)]
    waiting = queue(max_events=100_000, body=body)
    waiting.add(raw(payloads, headers=[lines_of(1, MSGPACK)] * count, gap=0))
    (request,) = drained(waiting)
    assert request.kind is Kind.MSGPACK
    assert msgspec.msgpack.decode(request.body) == [{"n": number} for number in range(count)]


def test_messagepack_with_headers_of_a_rule_is_a_record() -> None:
    waiting = queue()
    waiting.add(raw([b"\x81\xa1n\x01"], headers=[b"tenant: a\r\n" + lines_of(1, MSGPACK)], gap=0))
    (request,) = drained(waiting)
    (record,) = json.loads(request.body)
    assert (record["headers"]["tenant"], record["payloadBase64"]) == ("a", "gaFuAQ==")


@pytest.mark.parametrize("has_key", [False, True])
def test_a_message_that_is_too_large_is_named_and_nothing_is_taken(*, has_key: bool) -> None:
    waiting = queue(max_bytes=1024)
    sent = [*transaction(LSN, 2), (Position(LSN, 3), event(Position(LSN, 3), text="x" * 1024))]
    with pytest.raises(MessageTooLarge) as caught:
        waiting.add(batch(sent, first=7, keys=[b"k"] * 3 if has_key else None))
    assert (caught.value.index, caught.value.limit) == (2, 1024)
    assert waiting.first is None


def test_the_largest_message_fits() -> None:
    payload = event(Position(LSN, 1), text="x" * 900)
    for body in ("array", "ndjson"):
        waiting = queue(body=body, max_bytes=len(payload) + 8)
        waiting.add(batch([(Position(LSN, 1), payload)] * 2, first=1))
        assert [request.count for request in drained(waiting)] == [1, 1]
        small = queue(body=body, max_bytes=len(payload) + 7)
        with pytest.raises(MessageTooLarge):
            small.add(batch([(Position(LSN, 1), payload)], first=1))
