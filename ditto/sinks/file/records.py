"""What a file holds in place of an event's own JSON: a message with headers, a key or another body, as one JSON object.

The event in its default shape is a line by itself, and says its id and commit time. Every other line begins with those:

    {"position":"16/B374D848:12","id":"…","commitTime":"…","subject":"…","headers":{…},"payload":…}
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from json import JSONDecoder
from typing import Final, NamedTuple

import msgspec

from ditto.decoding.change import SnapshotMark
from ditto.decoding.event_id import event_id
from ditto.formats import deep_json, own_headers
from ditto.formats.payload_prefixes import COMMIT_TIME, EVENT, RECORD
from ditto.formats.payloads import Payloads
from ditto.formats.snapshot_events import read_mark
from ditto.lsn import Position
from ditto.sinks.base import Batch

HEAD_BYTES: Final = 512
"""Enough for position, id and commit time."""

_NEWLINE: Final = ord("\n")
_ONE_LINE: Final = bytes.maketrans(b"\n\r", b"  ")
_MEMBERS: Final = frozenset({own_headers.EVENT_ID, own_headers.COMMIT_TIME, own_headers.MARK})
"""Headers that are members of the record."""

_HEAD: Final = re.compile(
    re.escape(RECORD) + rb'(?P<position>[0-9A-F]{1,8}/[0-9A-F]{1,8}:[0-9]{1,18})","id":"(?P<id>[^"]{36})"'
    rb'(?:,"commitTime":"(?P<time>[^"]{1,64})")?'
    rb'(?P<mark>,"snapshot":)?'
)
_JSON: Final = JSONDecoder()
_anything: Final = msgspec.json.Decoder(msgspec.Raw)
_encode: Final = msgspec.json.Encoder().encode


class Head(NamedTuple):
    """How a record begins."""

    position: Position
    id: str
    commit_time: str | None
    mark_offset: int
    """Where the mark of a snapshot's row is; 0 where there is none."""


class _Record(msgspec.Struct, omit_defaults=True, rename="camel"):
    position: str
    id: str
    commit_time: str | None = None
    snapshot: SnapshotMark | None = None
    subject: str | None = None
    headers: Mapping[str, str] = {}
    key: str | None = None
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    payload_base64: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="payloadBase64")


_record_decoder: Final = msgspec.json.Decoder(_Record)


class StoredRecord(NamedTuple):
    """A record read back, its payload as it was sent."""

    position: Position
    id: str
    subject: str
    headers: Mapping[str, str]
    """Those that are members of the record too, except the mark of a snapshot's row."""
    key: str | None
    payload: bytes


def as_lines(batch: Batch, key: bytes) -> bytes | bytearray:
    """Each message in a line of its own, with a newline after the last one too; `key` is `event_key(…)`."""
    if batch.headers is None and batch.keys is None:
        return plain_lines(batch.payloads)
    lines = bytearray()
    for index, payload in enumerate(batch.payloads.each()):
        headers = b"" if batch.headers is None else batch.headers[index]
        message_key = None if batch.keys is None else batch.keys[index]
        if headers or message_key is not None:
            lines += record(batch, index, payload, headers, message_key, key)
        else:
            lines += bytes(payload).translate(_ONE_LINE)
        lines += b"\n"
    return lines


def plain_lines(payloads: Payloads) -> bytes | bytearray:
    """Each payload as it is, in a line of its own.

    JSON's texts have no raw line break, and encoders put a newline after each payload: the data is made of lines
    already. A column of type `json` is embedded as it is, and may have line breaks between its tokens: these become
    spaces. A carriage return alone ends a line for some readers, and is treated in the same way.
    """
    data, ends, gap = payloads.data, payloads.ends, payloads.gap
    if gap != 1:
        return b"".join(bytes(payload).translate(_ONE_LINE) + b"\n" for payload in payloads.each())
    if data.count(b"\n") == len(ends) and data[-1] == data[ends[0]] == _NEWLINE and b"\r" not in data:
        return data
    lines = bytearray(data.translate(_ONE_LINE))
    for end in ends:
        lines[end] = _NEWLINE
    return lines


def record(
    batch: Batch, index: int, payload: memoryview, headers: bytes, message_key: bytes | None, key: bytes
) -> bytes:
    """One message of a batch with everything that is said about it; `key` is `event_key(…)`."""
    position = Position(batch.commit_lsns[index], batch.ordinals[index])
    body, named = bytes(payload), own_headers.pairs(headers)
    if batch.traceparents is not None and (traceparent := batch.traceparents.get(index)) is not None:
        named["traceparent"] = traceparent.decode()
    own = own_headers.read_own(named.get)
    is_json = _is_json(named.get(own_headers.CONTENT_TYPE), body, is_event=own is None)
    return _encode(
        _Record(
            position=str(position),
            id=event_id(position, key),
            commit_time=_commit_time(body) if own is None else own.commit_time,
            snapshot=read_mark(body) if own is None else own.mark,
            subject=batch.routes[index].decode(),
            headers={name: value for name, value in named.items() if name not in _MEMBERS},
            key=None if message_key is None else message_key.decode(errors="backslashreplace"),
            payload=msgspec.Raw(body.translate(_ONE_LINE)) if is_json else msgspec.UNSET,
            payload_base64=msgspec.UNSET if is_json else b64encode(body).decode(),
        )
    )


def _is_json(content_type: str | None, body: bytes, *, is_event: bool) -> bool:
    """Whether the body can be part of the record's JSON: an application's may not be what its headers say."""
    media_type = "" if content_type is None else content_type.partition(";")[0].strip().lower()
    if content_type is not None and media_type != "application/json" and not media_type.endswith("+json"):
        return False
    if is_event:
        return body.startswith(b"{")
    try:
        body.decode()
        _anything.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _commit_time(event: bytes) -> str | None:
    """Of an event in the default shape."""
    start = event.rfind(COMMIT_TIME)
    if not event.startswith(EVENT) or start < 0:
        return None
    return event[start + len(COMMIT_TIME) :].partition(b'"')[0].decode("ascii", "replace")


def read_head(line: bytes) -> Head | None:
    """How a line begins that is a record; None for every other line."""
    found = _HEAD.match(line)
    if found is None:
        return None
    time = found["time"]
    return Head(
        Position.parse(found["position"].decode()),
        found["id"].decode("ascii", "replace"),
        None if time is None else time.decode("ascii", "replace"),
        found.end() if found["mark"] is not None else 0,
    )


def read_record(line: bytes) -> StoredRecord:
    """The record that a line is, however deep its payload is nested. Raises ValueError for what is none."""
    record = deep_json.decode(line, _record_decoder)
    if isinstance(record.payload_base64, str):
        payload = b64decode(record.payload_base64, validate=True)
    else:
        payload = b"" if record.payload is msgspec.UNSET else bytes(record.payload)
    headers = record.headers
    if (own_id := headers.get(own_headers.ID)) is not None:
        time = record.commit_time
        members = {} if own_id == record.id else {own_headers.EVENT_ID: record.id}
        headers = {**headers, **members} if time is None else {**headers, **members, own_headers.COMMIT_TIME: time}
    position = Position.parse(record.position)
    return StoredRecord(position, record.id, record.subject or "", headers, record.key, payload)


def read_record_mark(rest: bytes) -> SnapshotMark | None:
    """The mark, of what follows `Head.mark_offset`."""
    try:
        value, _ = _JSON.raw_decode(rest.decode(errors="replace"))
        return msgspec.convert(value, SnapshotMark)
    except (ValueError, msgspec.ValidationError):
        return None
