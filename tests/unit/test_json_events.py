"""Messages of a sink as JSON documents: whole, or without any value of a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from ditto.sinks.base import MessageKind, ReadMessage
from ditto.tail.choose import choose
from ditto.tail.json_events import JsonEvent, json_events

SECRET = "hunter2"
TIME = "2026-11-26T13:42:19.087319Z"
EVENT: dict[str, Any] = {
    "id": "5043024e-981d-8487-a420-327a87950424",
    "schema": "public",
    "table": "items",
    "action": "UPDATE",
    "data": {"id": 1, "name": SECRET, "note": {"a": [SECRET]}},
    "dataOld": {"id": 1, "name": f"old {SECRET}"},
    "commitTime": TIME,
}
DEBEZIUM = {
    "before": {"id": 1, "name": SECRET},
    "after": {"id": 1, "name": SECRET},
    "source": {"schema": "public", "table": "items", "ts_us": 1_764_164_539_087_319},
    "op": "u",
    "ts_us": 1_764_164_539_087_319,
}
CONTROL = {
    "id": EVENT["id"],
    "snapshot": {
        "state": "reading",
        "run": "r1",
        "schema": "public",
        "table": "items",
        "rows": 7,
        "cursor": [SECRET],
        "where": f"name = '{SECRET}'",
        "open": [{"run": "r1", "cursor": [SECRET], "moved": [[SECRET]], "where": SECRET}],
    },
    "commitTime": TIME,
}
HIDDEN = {
    "schema": "public",
    "table": "items",
    "action": "UPDATE",
    "commitTime": TIME,
    "columns": ["id", "name", "note"],
}


def encode(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def shown(
    payload: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    has_values: bool,
    kind: MessageKind = MessageKind.EVENT,
    tables: Sequence[str] = (),
) -> list[JsonEvent]:
    message = ReadMessage(1, kind, payload, f"shop.{SECRET}", headers or {})
    return list(json_events(message, choose(tables, []), has_values=has_values))


@pytest.mark.parametrize(
    ("payload", "headers", "count"),
    [
        (encode(EVENT), {}, 1),
        (encode([EVENT, EVENT]), {}, 2),
        (encode(EVENT) + b"\n" + encode(EVENT) + b"\n", {}, 2),
        (encode({"specversion": "1.0", "id": "x", "subject": SECRET, "data": EVENT}), {}, 1),
        (msgspec.msgpack.encode(EVENT), {"Content-Type": "application/msgpack"}, 1),
    ],
    ids=["json", "array", "lines", "cloudevents", "msgpack"],
)
def test_a_change_without_values_has_names_only(payload: bytes, headers: dict[str, str], count: int) -> None:
    whole = shown(payload, headers, has_values=True)
    assert [each.kind for each in whole] == ["change"] * count
    assert all(SECRET.encode() in each.data and b"\n" not in each.data for each in whole)
    hidden = shown(payload, headers, has_values=False)
    assert [json.loads(each.data) for each in hidden] == [HIDDEN] * count
    assert not shown(payload, headers, has_values=True, tables=["other"])


def test_one_of_debezium_too() -> None:
    (hidden,) = shown(encode(DEBEZIUM), has_values=False)
    assert SECRET.encode() not in hidden.data
    told = json.loads(hidden.data)
    assert (told["table"], told["action"], told["columns"]) == ("items", "UPDATE", ["id", "name"])


def test_a_deletion_names_the_columns_of_the_key() -> None:
    (hidden,) = shown(encode({**EVENT, "action": "DELETE", "data": {}}), has_values=False)
    assert json.loads(hidden.data)["columns"] == ["id", "name"]


def test_a_step_of_a_snapshot_without_cursor_and_condition() -> None:
    payload = encode(CONTROL)
    (whole,) = shown(payload, has_values=True, kind=MessageKind.CONTROL)
    assert (whole.kind, json.loads(whole.data)) == ("snapshot", CONTROL)
    (hidden,) = shown(payload, has_values=False, kind=MessageKind.CONTROL)
    step = {"state": "reading", "run": "r1", "schema": "public", "table": "items", "rows": 7}
    assert json.loads(hidden.data) == {"commitTime": TIME, "snapshot": step}


def test_a_message_without_subject_headers_and_body() -> None:
    headers = {"Ditto-Outbox": "public.outbox", "Ditto-Commit-Time": TIME, "Tenant": SECRET}
    (whole,) = shown(encode({"name": SECRET}), headers, has_values=True)
    assert (whole.kind, json.loads(whole.data)["payload"]) == ("message", {"name": SECRET})
    (hidden,) = shown(encode({"name": SECRET}), headers, has_values=False)
    told = json.loads(hidden.data)
    assert told.keys() == {"source", "commitTime", "bytes"}
    assert (told["source"], told["bytes"]) == ("public.outbox", 18)


def test_what_is_nobodys_event_is_left_out() -> None:
    for has_values in (True, False):
        for payload in (b"", b"hello", b"[1,", encode({"a": SECRET})):
            assert not shown(payload, has_values=has_values)
        assert not shown(encode(EVENT), has_values=has_values, kind=MessageKind.CHECKPOINT)
