"""Messages of a sink as JSON documents, whole or without the values of rows: what the API sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from ditto.formats import deep_json
from ditto.formats.snapshot_events import ControlEvent, read_control_event
from ditto.formats.stored_events import StoredEvent, as_json, read_event
from ditto.formats.stored_groups import events_in
from ditto.sinks.base import MessageKind, ReadMessage
from ditto.tail.choose import Choice
from ditto.tail.messages import ShownMessage, read_message

Kind: TypeAlias = Literal["change", "message", "snapshot"]
_OWN: Final = frozenset({MessageKind.CHECKPOINT, MessageKind.DESCRIPTION})


class JsonEvent(NamedTuple):
    """One document, on one line."""

    kind: Kind
    data: bytes


def json_events(found: ReadMessage, choice: Choice, *, has_values: bool) -> Iterator[JsonEvent]:
    """Those of a message that are chosen. What is no event of Ditto's is left out.

    With `has_values` as they are stored; without, what happened to which table, and no value of a row: neither subjects
    nor conditions nor cursors, in which there may be some.
    """
    if found.kind in _OWN:
        return
    if (message := read_message(found)) is not None:
        if choice.takes_message(message.table):
            yield JsonEvent("message", message.as_json() if has_values else _about_message(message))
        return
    try:
        payloads = events_in(found.payload, found.headers.get)
        for payload in payloads:
            if (each := _one(payload, found, choice, has_values=has_values)) is not None:
                yield each
    except msgspec.MsgspecError:
        return


def _one(payload: bytes, found: ReadMessage, choice: Choice, *, has_values: bool) -> JsonEvent | None:
    if (control := read_control_event(payload)) is not None:
        if not choice.takes_control(control.snapshot.schema, control.snapshot.table):
            return None
        return JsonEvent("snapshot", _line(payload) if has_values else _about_control(control))
    event = read_event(payload, found.headers.get)
    if not choice.takes(event.schema, event.table, event.action):
        return None
    return JsonEvent("change", _line(as_json(payload, found.headers.get)) if has_values else _about_event(event))


def _about_event(event: StoredEvent) -> bytes:
    row = deep_json.members(event.data) or deep_json.members(event.data_old)
    return _encode(
        schema=event.schema,
        table=event.table,
        action=event.action,
        commitTime=event.commit_time,
        columns=list(row),
    )


def _about_message(message: ShownMessage) -> bytes:
    return _encode(source=message.source, commitTime=message.commit_time, bytes=len(message.body))


def _about_control(event: ControlEvent) -> bytes:
    control = event.snapshot
    snapshot = {
        "state": control.state,
        "run": control.run,
        "schema": control.schema,
        "table": control.table,
        "rows": control.rows,
        "leftOut": control.left_out,
        "reason": control.reason,
        "hint": control.hint,
    }
    return _encode(
        commitTime=event.commit_time,
        snapshot={name: value for name, value in snapshot.items() if value is not None},
    )


def _encode(**members: Any) -> bytes:
    return msgspec.json.encode(members)


def _line(payload: bytes) -> bytes:
    """On one line: a column of type json may have line ends between its tokens; within a text they are escaped."""
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")
